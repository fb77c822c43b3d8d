package main

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

type server struct {
	script   script
	upgrade  string // the answer, with {accept}; "" for the right one
	cipher   string
	strict   bool
	packet   uint // packet size that channels are opened with
	times    int
	deaf     bool
	echo     bool
	rsaBits  int
	hostKey  ed25519.PrivateKey
	tls      *tls.Config
	patience time.Duration

	mu    sync.Mutex
	seen  int // connections so far
	masks map[uint32]bool
	// frames of all connections, and those that were not masked
	frames, bare, pongs int
}

func serverMain(args []string) {
	s := &server{masks: map[uint32]bool{}}
	f := flag.NewFlagSet("server", flag.ExitOnError)
	port := f.Int("port", 0, "port; 0 takes a free one")
	f.Var(&s.script, "do", "PLACE:ACTION, see play.go; repeatable")
	f.StringVar(&s.upgrade, "upgrade", "", "answer to the upgrade, with {accept}, {nul}")
	f.StringVar(&s.cipher, "cipher", "aes128-gcm@openssh.com", "the one that is offered")
	f.BoolVar(&s.strict, "strict", true, "strict key exchange")
	f.UintVar(&s.packet, "packet", 32768, "packet size that channels are opened with")
	f.IntVar(&s.times, "times", 1, "connections that the script is played on")
	f.BoolVar(&s.deaf, "deaf", false, "reads nothing more once the tunnel is up")
	f.BoolVar(&s.echo, "echo", true, "an echo must come through channel 0 after the script")
	f.IntVar(&s.rsaBits, "rsa-bits", 0, "shows an RSA host key of this size, with a signature of noise")
	f.DurationVar(&s.patience, "patience", 15*time.Second, "how long an answer is waited for")
	cert := f.String("cert", "", "TLS certificate file (with --key)")
	key := f.String("key", "", "TLS key file")
	f.Parse(args)

	sum := sha256.Sum256([]byte("evil-peer"))
	s.hostKey = ed25519.NewKeyFromSeed(sum[:])
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			fail(err)
		}
		s.tls = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		fail(err)
	}
	print := sha256.Sum256(s.hostBlob())
	say("ready", map[string]any{"port": l.Addr().(*net.TCPAddr).Port, "pid": os.Getpid(),
		"fingerprint": base64.StdEncoding.EncodeToString(print[:])})
	for {
		c, err := l.Accept()
		if err != nil {
			fail(err)
		}
		go s.serve(c)
	}
}

// serve is the life of one connection.
func (s *server) serve(raw net.Conn) {
	defer raw.Close()
	s.mu.Lock()
	s.seen++
	number := s.seen
	s.mu.Unlock()
	p := &player{server: s, evil: number <= s.times}
	say("connected", map[string]any{"number": number})
	if s.tls != nil {
		t := tls.Server(raw, s.tls)
		if err := t.Handshake(); err != nil {
			say("tls_failed", map[string]any{"number": number, "error": err.Error()})
			return
		}
		say("tls_open", map[string]any{"number": number})
		raw = t
	}
	p.ws = &wsConn{Conn: raw, r: bufio.NewReaderSize(raw, 64<<10), server: s}
	err := p.life()
	what := map[string]any{"number": number, "evil": p.evil, "kind": "alive", "sent": p.sent.Load()}
	if err != nil {
		what["kind"], what["text"] = "lost", err.Error()
	}
	var e ending
	if errors.As(err, &e) {
		what["kind"], what["code"], what["text"] = e.kind, e.code, e.text
	}
	replies, refused := p.counts()
	what["replies"], what["refused"] = replies, refused
	s.mu.Lock()
	what["frames"], what["bare"], what["keys"], what["pongs"] = s.frames, s.bare, len(s.masks), s.pongs
	s.mu.Unlock()
	say("answer", what)
	if err == nil {
		p.stay()
		say("left", map[string]any{"number": number})
	}
}

// ending is what the client said when it left.
type ending struct {
	kind string // disconnect, ws_close, eof
	code uint32
	text string
}

func (e ending) Error() string {
	return strings.TrimSpace(fmt.Sprint(e.kind, " ", e.code, " ", e.text))
}
