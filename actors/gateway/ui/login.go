package ui

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/limpetrun/limpet/actors/access"
	"github.com/limpetrun/limpet/messages"
)

const (
	// cookieName of what shows that a browser has had a token or the secret.
	cookieName = "limpet"
	// cookieFor is how long it does.
	cookieFor = 12 * time.Hour
	// formBytesMax bounds the form of the login.
	formBytesMax = 16 << 10
)

// pass is what the cookie holds: until when it is good, who it is for, and a seal of
// that which only who has the secret can make. All servers of a cluster make the same,
// so that a browser may go from one to another. It tells neither secret nor token.
func (p *pages) pass(until time.Time, who string) string {
	text := strconv.FormatInt(until.Unix(), 10) + "." + who
	return text + "." + p.seal("pass until "+text)
}

func (p *pages) seal(text string) string {
	mac := hmac.New(sha256.New, p.key)
	mac.Write([]byte("limpet ui " + text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// caller is who a request is for. UNAUTHENTICATED for nobody, for a pass that is over,
// and for one whose token is.
func (p *pages) caller(r *http.Request) (access.Caller, error) {
	if own, ok := access.From(r.Context()); ok {
		return own, nil // it was made here
	}
	if p.Secret == "" {
		return p.Doors.Again(r.Context(), access.Local, fromOf(r))
	}
	value := passOf(r)
	at := strings.LastIndexByte(value, '.')
	if at < 0 || !hmac.Equal([]byte(value[at+1:]), []byte(p.seal("pass until "+value[:at]))) {
		return access.Caller{}, errNoPass
	}
	end, who, _ := strings.Cut(value[:at], ".")
	until, err := strconv.ParseInt(end, 10, 64)
	if err != nil || !p.now().Before(time.Unix(until, 0)) {
		return access.Caller{}, errNoPass
	}
	return p.Doors.Again(r.Context(), who, fromOf(r))
}

var errNoPass = messages.Errorf(messages.CodeUnauthenticated, "this browser has no pass that is good: log in")

// loginPage is the form; Wrong after what is neither a token that is good nor the secret.
type loginPage struct {
	To    string
	Wrong bool
}

func (p *pages) login(w http.ResponseWriter, r *http.Request) {
	p.askSecret(w, r, http.StatusOK, loginPage{To: r.URL.Query().Get("to")})
}

func (p *pages) askSecret(w http.ResponseWriter, r *http.Request, status int, page loginPage) {
	write, err := p.show(r, "login", "Log in", "", page)
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	write(w)
}

// loggedIn gives the cookie for a token or the secret. That the form is this server's own is
// checked before: a page of elsewhere cannot send it.
func (p *pages) loggedIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, formBytesMax)
	to := r.PostFormValue("to")
	caller, err := p.Doors.Enter(r.Context(), strings.TrimSpace(r.PostFormValue("secret")), fromOf(r))
	switch {
	case messages.CodeOf(err) == messages.CodeUnauthenticated:
		p.askSecret(w, r, http.StatusUnauthorized, loginPage{To: to, Wrong: true})
		return
	case err != nil:
		p.refuse(w, r, err)
		return
	}
	p.setCookie(w, r, p.pass(p.now().Add(cookieFor), caller.Who), int(cookieFor.Seconds()))
	http.Redirect(w, r, p.base+p.within(to), http.StatusSeeOther)
}

// fromOf is the address that a request comes from, without its port.
func fromOf(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

func (p *pages) loggedOut(w http.ResponseWriter, r *http.Request) {
	p.setCookie(w, r, "", -1)
	http.Redirect(w, r, p.base+"/login", http.StatusSeeOther)
}

func (p *pages) setCookie(w http.ResponseWriter, r *http.Request, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: p.base + "/", MaxAge: maxAge,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil})
}

// within is where a path leads below /ui; its start for one that leads elsewhere.
func (p *pages) within(to string) string {
	rest, ok := strings.CutPrefix(to, "/ui/")
	if !ok || strings.HasPrefix(rest, "/") || strings.ContainsAny(rest, "\\\r\n") {
		return "/"
	}
	return "/" + rest
}
