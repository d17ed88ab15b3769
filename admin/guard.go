package admin

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"mime"
	"net/http"
)

const (
	sessionCookie = "pebblemq_admin"  // a random number that the tokens of forms belong to
	noticeCookie  = "pebblemq_notice" // what the last change has done, for one page
	tokenField    = "csrf"
	confirmField  = "confirm"

	maxBody = 4 << 20 // of a request
)

// policy lets a page load what this handler serves and nothing else.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// protect sets the headers of every answer.
func protect(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// isForm reports whether a request was sent by a form. Everything else must be JSON, which a page of
// another site cannot send without asking first.
func isForm(r *http.Request) bool {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return kind == "application/x-www-form-urlencoded"
}

// token returns the token for the forms of a page. It begins a session if there is none.
func (s *site) token(w http.ResponseWriter, r *http.Request) string {
	if c, err := r.Cookie(sessionCookie); err == nil && len(c.Value) == 2*sha256.Size {
		return s.sign(c.Value)
	}
	session := hex.EncodeToString(random())
	s.setCookie(w, r, sessionCookie, session, 0)
	return s.sign(session)
}

func (s *site) validToken(r *http.Request) bool {
	c, err := r.Cookie(sessionCookie)
	return err == nil && hmac.Equal([]byte(s.sign(c.Value)), []byte(r.PostFormValue(tokenField)))
}

func (s *site) sign(session string) string {
	mac := hmac.New(sha256.New, s.secret)
	mac.Write([]byte(session))
	return hex.EncodeToString(mac.Sum(nil))
}

func random() []byte {
	b := make([]byte, sha256.Size)
	_, _ = rand.Read(b) // never fails
	return b
}

// setNotice keeps a sentence for the next page.
func (s *site) setNotice(w http.ResponseWriter, r *http.Request, text string) {
	s.setCookie(w, r, noticeCookie, base64.RawURLEncoding.EncodeToString([]byte(text)), 60)
}

// notice returns the sentence, once.
func (s *site) notice(w http.ResponseWriter, r *http.Request) string {
	c, err := r.Cookie(noticeCookie)
	if err != nil {
		return ""
	}
	s.setCookie(w, r, noticeCookie, "", -1)
	text, _ := base64.RawURLEncoding.DecodeString(c.Value) // what is garbage is not shown
	return string(text)
}

func (s *site) setCookie(w http.ResponseWriter, r *http.Request, name, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: s.options.BasePath + "/", MaxAge: seconds,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	})
}

// audit logs what became of a change.
func (s *site) audit(r *http.Request, rt route, out any, err error) {
	who := s.options.Who(r)
	if err != nil {
		s.options.Logger.WarnContext(r.Context(), "admin change failed", "who", who, "action", rt.name, "path", r.URL.Path, "error", err)
		return
	}
	done := out.(changed)
	s.options.Logger.InfoContext(r.Context(), "admin change", "who", who, "action", rt.name, "object", done.Object,
		"done", done.Done, "before", done.Before, "after", done.After)
}

func (s *site) auditRefusal(r *http.Request, rt route, err error) {
	if rt.change {
		s.options.Logger.WarnContext(r.Context(), "admin change refused", "who", s.options.Who(r), "action", rt.name, "path", r.URL.Path, "error", err)
	}
}
