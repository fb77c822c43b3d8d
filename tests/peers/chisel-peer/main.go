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
	"fmt"
	"os"

	"pipeops/tests/peers/report"
)

// What happens is told by these; see the package.
var (
	say  = report.Say
	fail = report.Fail
)

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
