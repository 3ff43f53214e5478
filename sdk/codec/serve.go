package codec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// The command line has no keys. It asks a codec that the user runs: a program, by its
// standard input and output, or a URL. Both speak of one payload at a time in JSON, with
// bytes in base64:
//
//	{"encode":"aGk="}  →  {"data":"…","same":"…"}
//	{"decode":"…"}     →  {"payload":"aGk="}
//	anything else      →  {"error":"…"}
//
// A program reads a question a line and answers by a line until its input ends; a URL
// takes a question by POST.

// questionMax bounds a question and an answer in bytes.
const questionMax = 64 << 20

// askTimeout bounds what a URL may take to answer.
const askTimeout = 30 * time.Second

type question struct {
	Encode []byte `json:"encode,omitempty"`
	Decode []byte `json:"decode,omitempty"`
}

type answer struct {
	Data    []byte `json:"data,omitempty"`
	Same    string `json:"same,omitempty"`
	Payload []byte `json:"payload,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Serve answers questions on the standard streams of a program, until in ends: with it
// a program of a few lines is a codec for `limpet --codec PROGRAM`.
func Serve(c Codec, in io.Reader, out io.Writer) error {
	questions, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var q question
		switch err := questions.Decode(&q); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("what the program is asked is no JSON: %w", err)
		}
		if err := answers.Encode(q.answer(c)); err != nil {
			return err
		}
	}
}

// Handler answers questions that come by POST, for `limpet --codec URL`. It asks nobody
// who they are: put it behind what does.
func Handler(c Codec) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q question
		if r.Method != http.MethodPost {
			http.Error(w, "POST a question", http.StatusMethodNotAllowed)
			return
		}
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, questionMax)).Decode(&q); err != nil {
			http.Error(w, "the question is no JSON, or too long", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(q.answer(c)) // who asked is gone
	})
}

func (q question) answer(c Codec) (a answer) {
	var err error
	switch {
	case len(q.Encode) > 0 && len(q.Decode) == 0:
		var e Encoded
		e, err = c.Encode(q.Encode)
		a.Data, a.Same = e.Data, e.Same
	case len(q.Decode) > 0 && len(q.Encode) == 0:
		a.Payload, err = c.Decode(q.Decode)
	default:
		err = errors.New("ask to encode or to decode")
	}
	if err != nil {
		return answer{Error: err.Error()}
	}
	return a
}

// Remote is a codec that asks one: an http or https URL, or else a program with its
// arguments between blanks. The program is started when there is something to ask, and
// its input ends with Close.
func Remote(where string) *Asked {
	a := &Asked{where: where}
	if strings.HasPrefix(where, "http://") || strings.HasPrefix(where, "https://") {
		client := &http.Client{Timeout: askTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		a.exchange = func(q []byte) ([]byte, error) { return post(client, where, q) }
	} else {
		a.program = &program{args: strings.Fields(where)}
		a.exchange = a.program.ask
	}
	return a
}

// Asked is a Codec that a program or a URL serves.
type Asked struct {
	where    string
	exchange func(question []byte) ([]byte, error)
	program  *program
}

func (a *Asked) Encode(payload []byte) (Encoded, error) {
	got, err := a.ask(question{Encode: payload})
	return Encoded{Data: got.Data, Same: got.Same}, err
}

func (a *Asked) Decode(data []byte) ([]byte, error) {
	got, err := a.ask(question{Decode: data})
	return got.Payload, err
}

// Close ends the program, if one was started.
func (a *Asked) Close() error {
	if a.program == nil {
		return nil
	}
	return a.program.close()
}

func (a *Asked) ask(q question) (got answer, err error) {
	asked, err := json.Marshal(q)
	if err != nil {
		return got, err
	}
	said, err := a.exchange(asked)
	if err == nil {
		if err = json.Unmarshal(said, &got); err == nil && got.Error != "" {
			err = errors.New(got.Error)
		}
	}
	if err != nil {
		return answer{}, fmt.Errorf("codec %q: %w", a.where, err)
	}
	return got, nil
}

func post(client *http.Client, url string, question []byte) ([]byte, error) {
	response, err := client.Post(url, "application/json", bytes.NewReader(question))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, questionMax))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("it answers %s", response.Status)
	}
	return said, err
}

// program is one that Serve runs in.
type program struct {
	args []string

	mu      sync.Mutex
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder
	stderr  bytes.Buffer
}

func (p *program) ask(question []byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		if err := p.start(); err != nil {
			return nil, err
		}
	}
	if _, err := p.in.Write(append(question, '\n')); err != nil {
		return nil, p.broken(err)
	}
	var said json.RawMessage
	if err := p.answers.Decode(&said); err != nil {
		return nil, p.broken(err)
	}
	return said, nil
}

func (p *program) start() error {
	if len(p.args) == 0 {
		return errors.New("no program is named")
	}
	cmd := exec.Command(p.args[0], p.args[1:]...)
	cmd.Stderr = &p.stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd, p.in, p.answers = cmd, in, json.NewDecoder(out)
	return nil
}

// broken is the error of a program that does not answer any more.
func (p *program) broken(err error) error {
	_ = p.in.Close()
	ended := p.cmd.Wait()
	p.cmd = nil
	said, _, _ := strings.Cut(strings.TrimSpace(p.stderr.String()), "\n")
	return fmt.Errorf("the program does not answer: %w (%v) %s", err, ended, said)
}

func (p *program) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil
	}
	_ = p.in.Close()
	err := p.cmd.Wait()
	p.cmd = nil
	return err
}
