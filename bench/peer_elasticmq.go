package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

var elasticServer = &Server{Name: "elasticmq", Env: "BENCH_ELASTICMQ"}

var elasticPeer = &Peer{
	Name:       "elasticmq",
	About:      "an SQS server, its messages kept in an H2 database, SQS's JSON protocol over loopback HTTP, bodies in base64",
	Server:     elasticServer,
	Relaxed:    "its database on disk; the queue itself is in memory",
	Visibility: openElastic,
	FIFO:       true,
}

type elasticQueue struct {
	c         *http.Client
	base      string
	url, fifo string // of its queues
}

func openElastic(Env) (Visibility, error) {
	at, err := elasticServer.find()
	if err != nil {
		return nil, err
	}
	q := &elasticQueue{c: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}, base: "http://" + at.address + "/"}
	if q.url, err = q.create("q"); err != nil {
		return nil, err
	}
	q.fifo, err = q.create("q.fifo")
	return q, err
}

// create makes a queue that is new.
func (q *elasticQueue) create(name string) (string, error) {
	var old, made struct{ QueueUrl string }
	if q.call("GetQueueUrl", map[string]any{"QueueName": name}, &old) == nil {
		if err := q.call("DeleteQueue", map[string]any{"QueueUrl": old.QueueUrl}, nil); err != nil {
			return "", err
		}
	}
	attributes := map[string]string{"VisibilityTimeout": "600"}
	if strings.HasSuffix(name, ".fifo") {
		attributes["FifoQueue"] = "true"
	}
	err := q.call("CreateQueue", map[string]any{"QueueName": name, "Attributes": attributes}, &made)
	return made.QueueUrl, err
}

// call is one request of the JSON protocol.
func (q *elasticQueue) call(action string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(bg, http.MethodPost, q.base, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "AmazonSQS."+action)
	res, err := q.c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", action, res.Status, text)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// batch is a call on entries, none of which may fail.
func (q *elasticQueue) batch(action, url string, entries []map[string]any) error {
	var out struct{ Failed []struct{ Message string } }
	if err := q.call(action, map[string]any{"QueueUrl": url, "Entries": entries}, &out); err != nil {
		return err
	}
	if len(out.Failed) > 0 {
		return errors.New(action + ": " + out.Failed[0].Message)
	}
	return nil
}

func (q *elasticQueue) Send(bodies [][]byte, group int) error {
	url := q.url
	entries := make([]map[string]any, len(bodies))
	for i, b := range bodies {
		entries[i] = map[string]any{"Id": strconv.Itoa(i), "MessageBody": base64.StdEncoding.EncodeToString(b)}
		if group > 0 {
			url = q.fifo
			entries[i]["MessageGroupId"] = strconv.Itoa(group)
			entries[i]["MessageDeduplicationId"] = strconv.FormatUint(bodyNumber(b), 10)
		}
	}
	return q.batch("SendMessageBatch", url, entries)
}

type elasticHandle struct{ url, receipt string }

func (q *elasticQueue) Receive(limit int) ([]Message, error) {
	got, err := q.receive(q.url, limit)
	if err == nil && len(got) == 0 {
		got, err = q.receive(q.fifo, limit)
	}
	return got, err
}

func (q *elasticQueue) receive(url string, limit int) ([]Message, error) {
	var out struct {
		Messages []struct{ Body, ReceiptHandle string }
	}
	if err := q.call("ReceiveMessage", map[string]any{"QueueUrl": url, "MaxNumberOfMessages": limit}, &out); err != nil {
		return nil, err
	}
	got := make([]Message, len(out.Messages))
	for i, m := range out.Messages {
		body, err := base64.StdEncoding.DecodeString(m.Body)
		if err != nil {
			return nil, err
		}
		got[i] = Message{Body: body, handle: elasticHandle{url, m.ReceiptHandle}}
	}
	return got, nil
}

func (q *elasticQueue) Delete(messages []Message) error {
	entries := make([]map[string]any, len(messages))
	url := ""
	for i, m := range messages {
		h := m.handle.(elasticHandle)
		url = h.url
		entries[i] = map[string]any{"Id": strconv.Itoa(i), "ReceiptHandle": h.receipt}
	}
	return q.batch("DeleteMessageBatch", url, entries)
}

func (q *elasticQueue) Close() error { q.c.CloseIdleConnections(); return nil }
