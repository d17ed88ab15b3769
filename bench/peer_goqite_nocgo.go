//go:build !cgo

package main

func init() { goqitePeer.Missing = "built without cgo, which its SQLite driver needs" }
