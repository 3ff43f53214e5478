package main

import (
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// stream is stdout or stderr. What people read goes out by printf alone, so that
// nothing that came from elsewhere can steer their terminal.
type stream struct {
	w io.Writer
	// terminal says that somebody reads along.
	terminal bool
	// failed is the first write that was refused.
	failed error
	// colored says whether it gets colours.
	colored func(terminal bool) bool
}

// raw is for programs: JSON, an output as it is, logs, which quote themselves.
func (s *stream) raw() io.Writer { return s.w }

// styled is text that is printable already, with colours of our own.
type styled string

// printf prints for people. The format is our own; of the arguments only styled
// ones go out as they are, all others are made printable.
func (s *stream) printf(format string, args ...any) error {
	_, err := fmt.Fprintf(s.w, format, printables(args)...)
	return err
}

// paint makes a text printable and gives it a colour.
func (s *stream) paint(color, text string) styled {
	text = printable(text)
	if color == "" || text == "" || !s.colored(s.terminal) {
		return styled(text)
	}
	return styled("\x1b[" + color + "m" + text + "\x1b[0m")
}

func printables(args []any) []any {
	safe := make([]any, len(args))
	for i, arg := range args {
		safe[i] = arg
		switch arg := arg.(type) {
		case styled:
			continue
		case error, fmt.Stringer:
			safe[i] = printable(fmt.Sprint(arg))
			continue
		}
		switch kind := reflect.ValueOf(arg).Kind(); {
		case kind >= reflect.Bool && kind <= reflect.Complex128: // numbers and truth
		default:
			safe[i] = printable(fmt.Sprint(arg))
		}
	}
	return safe
}

// printable shows what a terminal would act upon, or not show, as Go writes it in
// a string: controls, escape codes, marks of direction, bytes that are not UTF-8.
func printable(text string) string {
	if strings.IndexFunc(text, hidden) < 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case hidden(r):
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

// hidden says that a rune is not to reach a terminal as it is; U+FFFD may be a
// byte that is not UTF-8.
func hidden(r rune) bool {
	return r == utf8.RuneError || !unicode.IsPrint(r) && !unicode.Is(unicode.Zs, r)
}

// field prints one line of what is known of a thing, if there is any.
func (c *cli) field(name string, value any) {
	if fmt.Sprint(value) != "" {
		c.out.printf("%s %s\n", c.out.paint(bold, fmt.Sprintf("%-11s", name)), value)
	}
}

// lines is a text of several lines, all but the first moved in.
func lines(text string) styled {
	all := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range all {
		all[i] = printable(strings.TrimRight(line, "\r"))
	}
	return styled(strings.Join(all, "\n  "))
}

// progress is a line on a terminal that is written over; elsewhere it is silent.
type progress struct {
	to   *stream
	last string
}

func (c *cli) newProgress() *progress { return &progress{to: c.err} }

func (p *progress) say(format string, args ...any) {
	if text := fmt.Sprintf(format, printables(args)...); p.to.terminal && text != p.last {
		p.to.printf("%s", styled("\r\x1b[K"+text))
		p.last = text
	}
}

func (p *progress) clear() {
	if p.to.terminal && p.last != "" {
		p.to.printf("%s", styled("\r\x1b[K"))
		p.last = ""
	}
}
