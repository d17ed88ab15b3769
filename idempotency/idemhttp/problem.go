package idemhttp

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// problem is a problem document of RFC 9457.
type problem struct {
	Status int    `json:"status"`
	Title  string `json:"title"`
	Detail string `json:"detail,omitempty"`
}

var tooLong = problem{http.StatusInternalServerError, "The response was too long to be stored",
	"The request took effect. Its response is not available any more."}

func badKey(err error) problem {
	return problem{http.StatusBadRequest, "Idempotency-Key is missing or not valid", fmt.Sprint(err)}
}

func badBody(err error) problem {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return problem{http.StatusRequestEntityTooLarge, "The body is too long for a request with an Idempotency-Key",
			fmt.Sprintf("The limit is %d bytes.", tooLarge.Limit)}
	}
	return problem{http.StatusBadRequest, "The body could not be read", ""}
}

func (p problem) write(w http.ResponseWriter) {
	text, err := json.Marshal(p)
	if err != nil {
		text = nil // there is nothing in it that could fail
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(text) // the client may be gone
}
