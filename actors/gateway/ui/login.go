package ui

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// cookieName of what shows that a browser has had the secret.
	cookieName = "limpet"
	// cookieFor is how long it does.
	cookieFor = 12 * time.Hour
	// formBytesMax bounds the form with the secret.
	formBytesMax = 16 << 10
)

// pass is what the cookie holds: until when it is good, and a seal of that which
// only who has the secret can make. All servers of a cluster make the same, so
// that a browser may go from one to another. It does not tell the secret.
func (p *pages) pass(until time.Time) string {
	end := strconv.FormatInt(until.Unix(), 10)
	return end + "." + p.seal("pass until "+end)
}

func (p *pages) seal(text string) string {
	mac := hmac.New(sha256.New, p.key)
	mac.Write([]byte("limpet ui " + text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// maySee says whether whoever asks may see the pages.
func (p *pages) maySee(r *http.Request) bool {
	if p.Secret == "" || r.Context().Value(ownKey{}) != nil {
		return true
	}
	cookie, err := r.Cookie(cookieName)
	if err != nil {
		return false
	}
	end, seal, _ := strings.Cut(cookie.Value, ".")
	until, err := strconv.ParseInt(end, 10, 64)
	return err == nil && hmac.Equal([]byte(seal), []byte(p.seal("pass until "+end))) && p.now().Before(time.Unix(until, 0))
}

// loginPage is the form; Wrong after a secret that is not the cluster's.
type loginPage struct {
	To    string
	Wrong bool
}

func (p *pages) login(w http.ResponseWriter, r *http.Request) {
	p.askSecret(w, r, http.StatusOK, loginPage{To: r.URL.Query().Get("to")})
}

func (p *pages) askSecret(w http.ResponseWriter, r *http.Request, status int, page loginPage) {
	write, err := p.show("login", "Log in", "", page)
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	write(w)
}

// loggedIn gives the cookie for the secret. That the form is this server's own is
// checked before: a page of elsewhere cannot send it.
func (p *pages) loggedIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, formBytesMax)
	to := r.PostFormValue("to")
	given, want := sha256.Sum256([]byte(strings.TrimSpace(r.PostFormValue("secret")))), sha256.Sum256([]byte(p.Secret))
	if !hmac.Equal(given[:], want[:]) {
		p.askSecret(w, r, http.StatusUnauthorized, loginPage{To: to, Wrong: true})
		return
	}
	until := p.now().Add(cookieFor)
	p.setCookie(w, r, p.pass(until), int(cookieFor.Seconds()))
	http.Redirect(w, r, p.base+p.within(to), http.StatusSeeOther)
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
