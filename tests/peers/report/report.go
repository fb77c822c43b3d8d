// Package report is how a peer tells a test what happened: one JSON object a
// line on stdout, by its "event".
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

var stdout sync.Mutex

// Say prints one line; tests wait for it.
func Say(event string, fields map[string]any) {
	line := map[string]any{"event": event}
	for k, v := range fields {
		line[k] = v
	}
	text, err := json.Marshal(line)
	if err != nil {
		Fail(err)
	}
	stdout.Lock()
	defer stdout.Unlock()
	os.Stdout.Write(append(text, '\n'))
}

// Fail says why on stderr and ends the peer.
func Fail(err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
	os.Exit(1)
}
