package admin_test

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/pebblemq/pebblemq"
	"github.com/pebblemq/pebblemq/admin"
	"github.com/pebblemq/pebblemq/log"
)

func ExampleHandler() {
	db, err := pebblemq.OpenMemory(nil)
	if err != nil {
		slog.Error("open", "error", err)
		return
	}
	defer db.Close()
	if _, err := log.OpenTopic(ctx, db, "orders", nil); err != nil {
		slog.Error("open topic", "error", err)
		return
	}

	mux := http.NewServeMux()
	mux.Handle("/admin/", admin.Handler(db, &admin.Options{BasePath: "/admin"}))
	server := httptest.NewServer(mux)
	defer server.Close()

	res, err := http.Get(server.URL + "/admin/api/v1/topics") // the page is at /admin/topics
	if err != nil {
		slog.Error("get", "error", err)
		return
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	fmt.Print(string(body))
	// Output: {"topics":{"rows":[{"name":"orders","partitions":1,"kept":0,"appended":0,"bytes":0,"groups":0,"lag":0}],"total":1,"matched":1,"page":1,"pages":1,"sort":"name"}}
}
