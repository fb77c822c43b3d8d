// chisel-peer is an independent chisel endpoint for the tests: an SSH server
// (or client) over WebSocket, built on golang.org/x/crypto/ssh, the library
// that real tunnel servers run.  It shares no line with the program under test.
//
//	chisel-peer server [flags]            a tunnel server with reverse listeners
//	chisel-peer client [flags] URL R:…    a client, to drive a gateway
//	chisel-peer ssh-server [flags]        a plain SSH server with remote forwarding
//
// Each line on stdout is one JSON object; the first says that it is ready.
// docs: --help.  --misbehave turns the server into one that breaks the rules.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

var stdout sync.Mutex

// say prints one JSON line; tests wait for them by their "event".
func say(event string, fields map[string]any) {
	line := map[string]any{"event": event}
	for k, v := range fields {
		line[k] = v
	}
	text, err := json.Marshal(line)
	if err != nil {
		fail(err)
	}
	stdout.Lock()
	defer stdout.Unlock()
	os.Stdout.Write(append(text, '\n'))
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "chisel-peer: %v\n", err)
	os.Exit(1)
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "server" {
		serverMain(os.Args[2:])
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "client" {
		clientMain(os.Args[2:])
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "ssh-server" {
		sshServerMain(os.Args[2:])
		return
	}
	fmt.Fprintln(os.Stderr, "usage: chisel-peer server|client|ssh-server [flags]; --help after the word lists them")
	os.Exit(2)
}
