package idemhttp

import (
	"context"
	"fmt"
	"net/http"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/idempotency"
)

// claimKey is the key under which a request's context has its claim.
type claimKey struct{}

// ClaimOf returns the claim that a handler runs under, from the context of its request. ok is
// false for a request without a key. The claim has the fencing token to pass downstream, and
// says whether an earlier request with the key was interrupted.
func ClaimOf(ctx context.Context) (c idempotency.Claim, ok bool) {
	c, ok = ctx.Value(claimKey{}).(idempotency.Claim)
	return c, ok
}

// Response is a response that is known before it is written.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Store stores the response in the transaction that has the handler's effect, so that both
// happen or neither. The effect happens once, whenever the process dies. If the transaction
// commits, this is the response, whatever its status and whatever the handler writes; if not,
// nothing is stored. For a request without a key Store does nothing, so the handler calls Write
// after the transaction in any case.
//
// A response that is longer than the MaxResultBytes of the namespace is
// pebblemq.ErrTooLarge, and a Status that is none pebblemq.ErrInvalid. Both refuse the
// transaction, as does a claim that was lost (idempotency.ErrLeaseLost).
func (r Response) Store(ctx context.Context, tx *pebblemq.Tx) error {
	claim, ok := ClaimOf(ctx)
	if !ok {
		return nil
	}
	if r.Status < 200 || r.Status > 999 {
		return fmt.Errorf("%w: status %d of a response is not between 200 and 999", pebblemq.ErrInvalid, r.Status)
	}
	v, err := response{status: r.Status, header: r.Header, body: r.Body}.encode()
	if err != nil {
		return err
	}
	return claim.In(tx).Complete(v)
}

// Write gives the client the response.
func (r Response) Write(w http.ResponseWriter) {
	for name, values := range r.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(r.Status)
	_, _ = w.Write(r.Body) // the client may be gone
}
