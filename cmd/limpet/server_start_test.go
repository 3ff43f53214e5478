package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/limpetrun/limpet/actors/journal"
	"github.com/limpetrun/limpet/actors/journal/journaltest"
	"github.com/limpetrun/limpet/actors/journal/postgres/postgrestest"
	"github.com/limpetrun/limpet/messages"
)

func TestOpenStore(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	server, err := postgrestest.Start(ctx, postgrestest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	database, err := server.NewDatabase(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"memory", "sqlite:" + filepath.Join(t.TempDir(), "j.db"), database, "postgresql" + strings.TrimPrefix(database, "postgres")} {
		store, err := openStore(ctx, name, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		run := "of " + name
		errs := store.Append(ctx, []journal.Append{journaltest.ChainAppend(run, 1, []byte("entry"))})
		if errs[0] != nil {
			t.Error(errs[0])
		}
		if rec, err := store.Load(ctx, run); err != nil || string(rec.Entries[0]) != "entry" {
			t.Errorf("%v, %v", rec, err)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestOpenStoreKeepsPasswords: neither errors nor the log tell them.
func TestOpenStoreKeepsPasswords(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t&pass"
	user := url.UserPassword("limpet", secret).String()
	for name, want := range map[string]messages.Code{
		"postgres://" + user + "@127.0.0.1:1/limpet":                  messages.CodeJournalUnavailable,
		"postgres://" + user + "@127.0.0.1:1/limpet?sslmode=nonsense": messages.CodeInvalidArgument,
		"postgres://" + user + "@127.0.0.1:port/limpet":               messages.CodeInvalidArgument,
		"postgres://" + user + "@127.0.0.1:1/lim%zzpet":               messages.CodeInvalidArgument,
		"mysql://" + user + "@127.0.0.1:1/limpet":                     messages.CodeInvalidArgument,
		"sqlite:": messages.CodeInvalidArgument,
		"postgresql://127.0.0.1:1/l?password=" + url.QueryEscape(secret):   messages.CodeJournalUnavailable,
		"postgresql://127.0.0.1:p/l?password=" + url.QueryEscape(secret):   messages.CodeInvalidArgument,
		"postgresql://127.0.0.1:1/l?sslmode=x&password=" + "s3cr3t%26pass": messages.CodeInvalidArgument,
	} {
		var log bytes.Buffer
		err := checkStore(name)
		if err == nil {
			_, err = openStore(t.Context(), name, slog.New(slog.NewTextHandler(&log, nil)))
		}
		if messages.CodeOf(err) != want {
			t.Errorf("%s: %v, want %s", name, err, want)
			continue
		}
		if strings.Contains(err.Error(), "s3cr3t") || strings.Contains(log.String(), "s3cr3t") {
			t.Errorf("%s: the password is told: %v; %s", name, err, &log)
		}
		t.Log(err)
	}
}
