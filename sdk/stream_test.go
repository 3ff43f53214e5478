package sdk_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
	"github.com/limpetrun/limpet/messages/api/apiconnect"
	"github.com/limpetrun/limpet/sdk"
)

// streamAPI gives a script of answers to readers of a stream: each connection the next one.
type streamAPI struct {
	apiconnect.UnimplementedLimpetServiceHandler
	answers [][]*api.ReadStreamResponse
	// asked are the places that connections were opened with.
	asked []string
}

func (f *streamAPI) ReadStream(_ context.Context, req *connect.Request[api.ReadStreamRequest], stream *connect.ServerStream[api.ReadStreamResponse]) error {
	f.asked = append(f.asked, fmt.Sprintf("%d.%d", req.Msg.GetSection(), req.Msg.GetNumber()))
	answers := f.answers[0]
	f.answers = f.answers[1:]
	if err := api.SayServed(stream); err != nil {
		return err
	}
	for _, a := range answers {
		if err := stream.Send(a); err != nil {
			return err
		}
	}
	if len(f.answers) > 0 {
		panic(http.ErrAbortHandler)
	}
	return nil
}

// somePieces begin at a place.
func somePieces(section int32, first uint64, texts ...string) *api.ReadStreamResponse {
	m := &api.ReadStreamResponse{Section: section, First: first}
	for _, text := range texts {
		m.Pieces = append(m.Pieces, []byte(text))
	}
	return m
}

// TestReadersRefuseWhatDoesNotFollow, and ask again for the place that they were opened with
// until they have got something.
func TestReadersRefuseWhatDoesNotFollow(t *testing.T) {
	from := sdk.StreamPlace{Section: 2, Number: 3}
	cut := &api.ReadStreamResponse{Section: 5, First: 1, Cut: true}
	for _, c := range []struct {
		answers    [][]*api.ReadStreamResponse
		got, asked string
		refused    bool
	}{
		{[][]*api.ReadStreamResponse{nil, nil, {somePieces(2, 3, "a", "b")}, {somePieces(2, 5, "c"), somePieces(4, 1, "d")}}, "2.3a 2.4b 2.5c 4.1d", "2.3 2.3 2.3 2.5", false},
		{[][]*api.ReadStreamResponse{{cut}, {somePieces(5, 1, "a")}}, "5.1cut 5.1a", "2.3 5.1", false},
		{[][]*api.ReadStreamResponse{{somePieces(2, 3, "a"), somePieces(2, 5, "c")}}, "2.3a", "2.3", true},
		{[][]*api.ReadStreamResponse{{somePieces(2, 3, "a"), somePieces(2, 3, "a")}}, "2.3a", "2.3", true},
		{[][]*api.ReadStreamResponse{{somePieces(3, 2, "a")}}, "", "2.3", true},
		{[][]*api.ReadStreamResponse{{somePieces(1, 1, "a")}}, "", "2.3", true},
		{[][]*api.ReadStreamResponse{{{Section: 1, First: 1, Cut: true}}}, "", "2.3", true},
	} {
		f := &streamAPI{answers: c.answers}
		mux := http.NewServeMux()
		mux.Handle(apiconnect.NewLimpetServiceHandler(f))
		server := httptest.NewServer(mux)
		var got []string
		var failure error
		for piece, err := range client(t, sdk.ClientConfig{Address: strings.TrimPrefix(server.URL, "http://")}).Run("r1").ReadStream(t.Context(), "s", &sdk.ReadStreamOptions{From: from}) {
			switch {
			case err != nil:
				failure = err
			case piece.Cut:
				got = append(got, piece.String()+"cut")
			default:
				got = append(got, piece.String()+string(piece.Data))
			}
		}
		server.Close()
		if strings.Join(got, " ") != c.got || strings.Join(f.asked, " ") != c.asked || (sdk.CodeOf(failure) == messages.CodeInternal) != c.refused || !c.refused && failure != nil {
			t.Errorf("got %q by %q, %v; want %q by %q, refused: %t", got, f.asked, failure, c.got, c.asked, c.refused)
		}
	}
}
