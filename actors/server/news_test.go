package server

import (
	"testing"

	"github.com/limpetrun/limpet/messages"
	"github.com/limpetrun/limpet/messages/api"
)

// Of the news the newest are kept; who asks for what is kept no more, or comes from the
// future, is told of the gap.
func TestNews(t *testing.T) {
	var n news
	ask := func(after uint64, topics ...string) *messages.WatchNewsReply {
		return n.await(t.Context(), &messages.WatchNews{After: after, Topics: topics})
	}
	if got := ask(0); len(got.News) != 0 || got.Last != 0 || got.Gap {
		t.Errorf("at first: %v", got)
	}
	for i := range messages.NewsMax + 10 {
		topic := api.TopicRuns
		if i%100 == 0 {
			topic = api.TopicWorkers
		}
		n.put(&messages.News{Topic: topic})
	}
	if got := n.await(t.Context(), &messages.WatchNews{FromNow: true}); got.Last != messages.NewsMax+10 || len(got.News) != 0 {
		t.Errorf("from now: %v", got)
	}
	for after, gap := range map[uint64]bool{0: true, 9: true, 10: false, messages.NewsMax + 11: true} {
		got := ask(after)
		if got.Gap != gap || len(got.News) != newsPage || got.News[0].Number != 11 || got.Last != 10+newsPage {
			t.Errorf("after %d: gap %v, %d news, the first %v, up to %d", after, got.Gap, len(got.News), got.News[0], got.Last)
		}
	}
	if got := ask(50, api.TopicWorkers); len(got.News) != 100 || got.News[0].Number != 101 || got.Last != messages.NewsMax+10 {
		t.Errorf("of workers: %d, up to %d", len(got.News), got.Last)
	}
	if got := ask(messages.NewsMax + 10); len(got.News) != 0 || got.Gap {
		t.Errorf("of nothing new: %v", got)
	}
	waited := make(chan *messages.WatchNewsReply)
	go func() {
		waited <- n.await(t.Context(), &messages.WatchNews{After: messages.NewsMax + 10, WaitMs: 60_000})
	}()
	n.put(&messages.News{Kind: "new"})
	if got := <-waited; len(got.News) != 1 || got.News[0].Kind != "new" {
		t.Errorf("waited for %v", got)
	}
}

func TestPositions(t *testing.T) {
	p := places{"s1~01k": 7, "s2~01m": 0}
	back, err := placesOf(p.position())
	if err != nil || len(back) != 2 || back["s1~01k"] != 7 {
		t.Errorf("%v came back as %v, %v", p, back, err)
	}
	for _, wrong := range []string{"?", "YQ", "YSBi"} {
		if _, err := placesOf(wrong); messages.CodeOf(err) != messages.CodeInvalidArgument {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}
