// Package compare measures two builds of bench in turns on one machine, so that
// what the machine does meanwhile falls on both.
//
// Data flow: Config → the two programs, by turns, each with --json → their
// figures, by name → the median of each over the rounds → a Comparison.
//
// Invariants: both get the same arguments; who goes first changes from round to
// round.
//
// Imports only messages.
package compare

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/limpetrun/limpet/messages"
)

// roundsMax is far more than a comparison needs.
const roundsMax = 1000

// Config of a comparison.
type Config struct {
	// This and Other are the commands of the two builds, without the arguments
	// of the measurement, which Args are.
	This, Other, Args []string
	// Rounds are how often each is run.
	Rounds int
	// Progress is told what is run next.
	Progress func(format string, args ...any)
}

// Validate reports every fault: INVALID_ARGUMENT.
func (c Config) Validate() error {
	switch {
	case len(c.Other) == 0:
		return messages.Errorf(messages.CodeInvalidArgument, "--against names no program")
	case c.Rounds < 1 || c.Rounds > roundsMax:
		return messages.Errorf(messages.CodeInvalidArgument, "--rounds is %d, must be 1 to %d", c.Rounds, roundsMax)
	}
	return nil
}

// Figure is one that both builds have.
type Figure struct {
	Name string `json:"name"`
	// This and Other are the medians of all rounds.
	This  float64 `json:"this"`
	Other float64 `json:"other"`
	// ChangePercent is from Other to This; 0 if Other is 0.
	ChangePercent float64 `json:"change_percent"`
	// RatioLeast and RatioMost are those of This to Other in one round: how far the
	// rounds differ. 0 if a round lacks the figure, or Other was 0.
	RatioLeast float64 `json:"ratio_least"`
	RatioMost  float64 `json:"ratio_most"`
}

// Comparison of two builds.
type Comparison struct {
	Rounds  int      `json:"rounds"`
	Figures []Figure `json:"figures"`
}

// Run measures both builds.
func Run(ctx context.Context, config Config) (*Comparison, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	var this, other samples
	for round := range config.Rounds {
		turns := []struct {
			command []string
			of      *samples
		}{{config.Other, &other}, {config.This, &this}}
		if round%2 == 1 {
			slices.Reverse(turns)
		}
		for _, turn := range turns {
			config.Progress("round %d of %d: %s", round+1, config.Rounds, strings.Join(turn.command, " "))
			if err := turn.of.measure(ctx, append(slices.Clone(turn.command), config.Args...)); err != nil {
				return nil, err
			}
		}
	}
	return compared(config.Rounds, this, other), nil
}

// samples of each figure, in the order in which the figures were printed.
type samples struct {
	names  []string
	values map[string][]float64
}

// measure runs a command and takes the numbers of the JSON object that it
// prints; those of its fields that are objects are taken, too.
func (s *samples) measure(ctx context.Context, command []string) error {
	cmd := exec.CommandContext(ctx, command[0], append(command[1:], "--json")...)
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, &complaint)
	}
	decoder := json.NewDecoder(bytes.NewReader(out))
	if _, err := decoder.Token(); err != nil {
		return fmt.Errorf("%s printed no JSON: %w", cmd, err)
	}
	return s.object(decoder, "")
}

// object takes the fields of an object that has begun.
func (s *samples) object(decoder *json.Decoder, prefix string) error {
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return err
		}
		full := prefix + fmt.Sprint(name)
		var number float64
		switch {
		case value[0] == '{':
			inner := json.NewDecoder(bytes.NewReader(value))
			_, _ = inner.Token() // the brace
			if err := s.object(inner, full+"."); err != nil {
				return err
			}
		case json.Unmarshal(value, &number) == nil:
			s.add(full, number)
		}
	}
	return nil
}

func (s *samples) add(name string, value float64) {
	if s.values == nil {
		s.values = map[string][]float64{}
	}
	if s.values[name] == nil {
		s.names = append(s.names, name)
	}
	s.values[name] = append(s.values[name], value)
}

func compared(rounds int, this, other samples) *Comparison {
	c := &Comparison{Rounds: rounds}
	for _, name := range this.names {
		if other.values[name] == nil {
			continue
		}
		f := Figure{Name: name, This: median(this.values[name]), Other: median(other.values[name])}
		if f.Other != 0 {
			f.ChangePercent = 100 * (f.This - f.Other) / f.Other
		}
		f.RatioLeast, f.RatioMost = spread(this.values[name], other.values[name])
		c.Figures = append(c.Figures, f)
	}
	return c
}

// spread is the least and the largest ratio of two figures of the same round.
func spread(this, other []float64) (least, most float64) {
	if len(this) != len(other) || slices.Contains(other, 0) {
		return 0, 0
	}
	for round := range this {
		ratio := this[round] / other[round]
		if round == 0 {
			least, most = ratio, ratio
		}
		least, most = min(least, ratio), max(most, ratio)
	}
	return least, most
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Table shows the comparison to eyes.
func (c *Comparison) Table() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "median of %d\tother\tthis\tchange\tby round\t\n", c.Rounds)
	for _, f := range c.Figures {
		fmt.Fprintf(w, "%s\t%.6g\t%.6g\t%+.1f %%\t%.2f to %.2f\t\n", f.Name, f.Other, f.This, f.ChangePercent, f.RatioLeast, f.RatioMost)
	}
	_ = w.Flush()
	return out.String()
}
