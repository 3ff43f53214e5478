package config

import (
	"net/url"
	"regexp"
	"strings"
	"time"
)

// hiddenText stands for a password.
const hiddenText = "xxxxx"

// Shown is a setting as it may be shown to anybody.
type Shown struct {
	Setting
	// Value is text, a list of texts, true or false. A secret is "set" or "".
	Value  any
	Origin Origin
}

// Show returns the settings of a scope and of Shared, without secrets.
func Show(v *Values, origins Origins, scope Scope) []Shown {
	var all []Shown
	for _, s := range Table {
		if s.Scope == Server && scope != Server {
			continue
		}
		row := Shown{Setting: s, Origin: origins[s.Name]}
		switch field := s.field(v).(type) {
		case *string:
			row.Value = s.shownText(*field)
		case *[]string:
			row.Value = append([]string{}, *field...)
		case *bool:
			row.Value = *field
		case *int:
			row.Value = *field
		case *float64:
			row.Value = *field
		case *time.Duration:
			row.Value = field.String()
		}
		all = append(all, row)
	}
	return all
}

func (s Setting) shownText(text string) string {
	switch {
	case s.hidden && text != "":
		return "set"
	case s.url:
		return Redact(text)
	}
	return text
}

// passwordWord is a password among the words of a connection string.
var passwordWord = regexp.MustCompile(`(?i)(password\s*=\s*)('(?:[^'\\]|\\.)*'|[^\s&]+)`)

// Redact returns a store without the password in it.
func Redact(store string) string {
	scheme, _, isURL := strings.Cut(store, "://")
	if !isURL {
		return passwordWord.ReplaceAllString(store, "${1}"+hiddenText)
	}
	u, err := url.Parse(store)
	if err != nil {
		return scheme + "://" + hiddenText // nobody knows where in it the password is
	}
	if _, ok := u.User.Password(); ok {
		u.User = url.UserPassword(u.User.Username(), hiddenText)
		store = u.String()
	}
	return passwordWord.ReplaceAllString(store, "${1}"+hiddenText)
}
