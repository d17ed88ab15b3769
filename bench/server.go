package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Server is a broker that runs in a process of its own. servers.sh starts it and
// says in the environment where it is: "address pid directory version".
type Server struct {
	Name string
	Env  string
}

// place is where a server was found.
type place struct {
	address string
	pid     int
	dir     string
	version string
}

func (s *Server) find() (place, error) {
	text := os.Getenv(s.Env)
	if text == "" {
		return place{}, fmt.Errorf("not running: servers.sh starts it, and sets %s", s.Env)
	}
	f := strings.Fields(text)
	if len(f) != 4 {
		return place{}, fmt.Errorf("%s is not 'address pid directory version': %q", s.Env, text)
	}
	pid, err := strconv.Atoi(f[1])
	if err != nil {
		return place{}, fmt.Errorf("%s: %w", s.Env, err)
	}
	return place{address: f[0], pid: pid, dir: f[2], version: f[3]}, nil
}

func (s *Server) version() string {
	p, err := s.find()
	if err != nil {
		return ""
	}
	return p.version
}
