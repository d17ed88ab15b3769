package admin

import (
	"archive/tar"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// serveCheckpoint writes a copy of the store as a tar archive while the store goes on. The copy is
// made in Options.TempDir and removed at the end. A connection that breaks cuts the archive short.
func (s storeSection) serveCheckpoint(w http.ResponseWriter, r *http.Request, _ struct{}) error {
	temp, err := os.MkdirTemp(s.options.TempDir, "pebblemq-checkpoint-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(temp) }() // the next clearing of the directory takes what is left
	dir := filepath.Join(temp, "store")
	if err := s.db.Checkpoint(r.Context(), dir); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-tar")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=pebblemq-%s.tar", time.Now().UTC().Format("20060102-150405")))
	archive := tar.NewWriter(&patient{w, http.NewResponseController(w)})
	if err := errors.Join(archive.AddFS(os.DirFS(dir)), archive.Close()); err != nil {
		s.options.Logger.WarnContext(r.Context(), "admin checkpoint was cut short", "who", s.options.Who(r), "error", err)
		panic(http.ErrAbortHandler) // the client must not take the beginning for the whole
	}
	return nil
}

// patient gives each write of an answer some time, whatever the timeouts of the server are.
type patient struct {
	w          http.ResponseWriter
	controller *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	_ = p.controller.SetWriteDeadline(time.Now().Add(time.Minute)) // a writer without deadlines is a buffer
	return p.w.Write(b)
}
