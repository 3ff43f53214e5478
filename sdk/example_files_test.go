package sdk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/limpetrun/limpet/sdk"
	"github.com/limpetrun/limpet/sdk/sdktest"
)

// A file pipeline: download to the local disk, process, upload. The directory
// that the steps share is local state: made when the first of them asks for it
// and removed when the run has ended, also when it failed or was canceled. If
// the run has to move, what made the files runs again there (BuildsState)
// before what reads them (NeedsState).
func Example_filePipeline() {
	files := sdk.NewWorkflow[string]("files", sdk.WorkflowConfig{Sticky: sdk.Soft})
	removed := make(chan sdk.Why)
	scratch := sdk.NewLocal(files, sdk.LocalConfig[string, string]{
		Bind: func(sdk.BindContext, string) (string, error) { return os.MkdirTemp("", "files-") },
		Release: func(dir string, why sdk.Why) error {
			defer func() { removed <- why }()
			return os.RemoveAll(dir)
		},
	})
	download := sdk.AddStep(files, "download", func(ctx sdk.Context, url string) (int, error) {
		text, err := request(ctx, http.MethodGet, url, nil)
		if err != nil {
			return 0, err
		}
		dir, err := scratch.Get(ctx)
		if err != nil {
			return 0, err
		}
		return len(text), os.WriteFile(filepath.Join(dir, "in"), text, 0o600)
	}, sdk.StepConfig{Retries: 3, BuildsState: true})
	process := sdk.AddStep(files, "process", func(ctx sdk.Context, _ string) (any, error) {
		dir, err := scratch.Get(ctx)
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(filepath.Join(dir, "in"))
		if err != nil {
			return nil, err
		}
		if len(text) == 0 {
			return nil, errors.New("the file is empty")
		}
		return nil, os.WriteFile(filepath.Join(dir, "out"), bytes.ToUpper(text), 0o600)
	}, sdk.StepConfig{Parents: sdk.Steps(download), NeedsState: true, BuildsState: true})
	upload := sdk.AddStep(files, "upload", func(ctx sdk.Context, url string) (string, error) {
		dir, err := scratch.Get(ctx)
		if err != nil {
			return "", err
		}
		text, err := os.ReadFile(filepath.Join(dir, "out"))
		if err != nil {
			return "", err
		}
		text, err = request(ctx, http.MethodPut, url, text)
		return string(text), err
	}, sdk.StepConfig{Parents: sdk.Steps(process), NeedsState: true})

	ctx := context.Background()
	e, err := sdktest.New(ctx, sdktest.Config{Workers: sdktest.Workers("worker-1", "worker-2")}, files)
	check(err)
	defer closeEngine(e)
	site, hanging := newSite()
	defer site.Close()
	for _, name := range []string{"good", "empty", "hangs"} {
		run, err := files.Start(ctx, e.Client(), site.URL+"/"+name)
		check(err)
		if name == "hangs" {
			<-hanging // its upload is under way
			check(run.Cancel(ctx, "not needed any more"))
		}
		answer, err := upload.Result(ctx, run)
		fmt.Printf("%s: %q %v, directory removed: %s\n", name, answer, errors.Unwrap(err), <-removed)
	}
	// Output:
	// good: "received: WORDS OF GOOD" <nil>, directory removed: run-ended
	// empty: "" USER_ERROR: step "process": the file is empty, directory removed: run-ended
	// hangs: "" CANCELED: run canceled: not needed any more, directory removed: run-ended
}

// newSite stands for the network.
func newSite() (site *httptest.Server, hanging chan string) {
	hanging = make(chan string, 1)
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		switch {
		case r.Method == http.MethodPut && r.URL.Path == "/hangs":
			hanging <- r.URL.Path
			<-r.Context().Done()
		case r.Method == http.MethodPut:
			_, _ = fmt.Fprintf(w, "received: %s", text)
		case r.URL.Path != "/empty":
			_, _ = fmt.Fprint(w, "words of "+r.URL.Path[1:])
		}
	})), hanging
}

func request(ctx context.Context, method, url string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	return io.ReadAll(res.Body)
}
