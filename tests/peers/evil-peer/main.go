// evil-peer is a tunnel server that plays what it is told: a transport of SSH
// over WebSocket written out here, byte by byte, because a library would not
// send what the tests want sent.
//
//	evil-peer server [flags]     --do PLACE:ACTION… are played on the first
//	                             connections; those after it are served well
//	evil-peer plain [flags]      an SSH server whose first encrypted packet has
//	                             each of --lengths in turn, for ssh:// clients
//	evil-peer certs FOLDER       certificates with one thing wrong in each
//
// A place is where in a connection's life the actions stand, in the order of
// places; an action is what is sent there (play.go).  Each line on stdout is
// one JSON object: ready, upgraded, answer (how the client took it), served.
package main

import (
	"errors"
	"os"

	"pipeops/tests/peers/report"
)

// What happens is told by these; see the package.
var (
	say  = report.Say
	fail = report.Fail
)

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("server, plain or certs"))
	}
	switch os.Args[1] {
	case "server":
		serverMain(os.Args[2:])
	case "plain":
		plainMain(os.Args[2:])
	case "certs":
		if err := writeCertificates(os.Args[2]); err != nil {
			fail(err)
		}
	default:
		fail(errors.New("server, plain or certs"))
	}
}
