// Package monitoring has alert rules and a Grafana dashboard for what contrib/prometheus
// exports. It is a module of its own, because its test needs the Prometheus server.
package monitoring

import _ "embed" // for the files

// Alerts are alerting rules in the format of a Prometheus rule file.
//
//go:embed alerts.yaml
var Alerts []byte

// Dashboard is a Grafana dashboard, to be imported as JSON.
//
//go:embed dashboard.json
var Dashboard []byte
