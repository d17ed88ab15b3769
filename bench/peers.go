package main

import (
	"fmt"
	"runtime/debug"
	"strings"
)

// peers returns everybody, in the order in which they take turns.
func peers() []*Peer {
	return []*Peer{
		mqPeer, pebblePeer, filePeer, natsPeer, goqitePeer, bboltPeer, walPeer, dquePeer, redisPeer, rabbitClassicPeer, rabbitQuorumPeer, riverPeer, kafkaPeer, elasticPeer,
	}
}

// floors are limits and not competitors: nothing that could be used instead.
var floors = map[string]bool{filePeer.Name: true, pebblePeer.Name: true}

func findPeer(name string) *Peer {
	for _, p := range peers() {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// missingPeers returns the peers that cannot be measured here, with the reason.
func missingPeers() map[string]string {
	missing := map[string]string{}
	for _, p := range peers() {
		if p.Missing != "" {
			missing[p.Name] = p.Missing
		}
		if p.Server == nil {
			continue
		}
		if _, err := p.Server.find(); err != nil {
			missing[p.Name] = err.Error()
		}
	}
	return missing
}

func describePeers(missing map[string]string) []About {
	var found []About
	for _, p := range peers() {
		a := About{Name: p.Name, About: p.About, Durable: p.Durable, Relaxed: p.Relaxed, Missing: missing[p.Name]}
		a.Version = map[string]string{}
		for _, m := range p.Modules {
			a.Version[m] = moduleVersion(m)
		}
		if p.Server != nil && a.Missing == "" {
			a.Version[p.Server.Name] = p.Server.version()
		}
		found = append(found, a)
	}
	return found
}

func moduleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path != path {
			continue
		}
		if m.Replace != nil {
			return "this checkout" + revision(info)
		}
		return m.Version
	}
	return "unknown"
}

// revision is that of the checkout, if the build knows it.
func revision(info *debug.BuildInfo) string {
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return " at " + s.Value[:min(len(s.Value), 12)]
		}
	}
	return ""
}

// versions is a peer's versions as one line.
func (a About) versions() string {
	var parts []string
	for _, m := range sortedKeys(a.Version) {
		parts = append(parts, fmt.Sprintf("%s %s", m, a.Version[m]))
	}
	return strings.Join(parts, ", ")
}
