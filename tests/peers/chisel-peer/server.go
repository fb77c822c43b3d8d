package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/crypto/ssh"
)

type server struct {
	ssh       *ssh.ServerConfig
	misbehave mode
	keepHalf  bool
	pings     time.Duration
	patience  time.Duration // how long the old listener of a lost session is waited for
}

func serverMain(args []string) {
	f := flag.NewFlagSet("server", flag.ExitOnError)
	host := f.String("listen", "127.0.0.1", "address to listen on")
	port := f.Int("port", 0, "port; 0 takes a free one")
	cert := f.String("cert", "", "TLS certificate file (with --key: https)")
	key := f.String("key", "", "TLS key file")
	kind := f.String("host-key", "ecdsa", "ed25519, ecdsa, ecdsa384 or rsa")
	seed := f.String("host-key-seed", "", "the same key each time (not RSA)")
	file := f.String("host-key-file", "", "read the key, or make and keep it")
	ciphers := f.String("cipher", "", "comma separated; default: the library's")
	macs := f.String("mac", "", "comma separated")
	kex := f.String("kex", "", "comma separated")
	rekey := f.Uint64("rekey-threshold", 0, "bytes until a new key exchange; 0: the library's")
	auth := f.String("auth", "", "user:pass; default: anybody")
	pings := f.Duration("ping", 0, "send a ping this often")
	pipes := f.String("pipe", "half", "half: keep half-closed streams; both: end both ways at once")
	misbehave := f.String("misbehave", "", "MODE or MODE=TEXT: "+modeNames())
	f.Parse(args)

	signer, err := hostKey(*kind, *seed, *file)
	if err != nil {
		fail(err)
	}
	m, err := newMode(*misbehave)
	if err != nil {
		fail(err)
	}
	s := &server{misbehave: m, keepHalf: *pipes == "half", pings: *pings, patience: 200 * time.Millisecond}
	s.ssh = &ssh.ServerConfig{ServerVersion: serverVersion, PasswordCallback: password(*auth)}
	s.ssh.Ciphers, s.ssh.MACs, s.ssh.KeyExchanges = list(*ciphers), list(*macs), list(*kex)
	s.ssh.RekeyThreshold = *rekey
	s.ssh.AddHostKey(signer)

	l, err := net.Listen("tcp", net.JoinHostPort(*host, fmt.Sprint(*port)))
	if err != nil {
		fail(err)
	}
	say("ready", map[string]any{"port": l.Addr().(*net.TCPAddr).Port, "pid": os.Getpid(),
		"fingerprint": fingerprint(signer.PublicKey()), "host_key": signer.PublicKey().Type()})
	web := &http.Server{Handler: s}
	if *cert != "" {
		err = web.ServeTLS(l, *cert, *key)
	} else {
		err = web.Serve(l)
	}
	fail(err)
}

func list(names string) []string {
	if names == "" {
		return nil
	}
	return strings.Split(names, ",")
}

func password(auth string) func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
	user, pass, _ := strings.Cut(auth, ":")
	return func(c ssh.ConnMetadata, given []byte) (*ssh.Permissions, error) {
		if auth != "" && (c.User() != user || string(given) != pass) {
			say("auth_refused", map[string]any{"user": c.User()})
			return nil, errors.New("wrong user or password")
		}
		return nil, nil
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.misbehave.http(w, r) {
		return
	}
	if !websocket.IsWebSocketUpgrade(r) || r.Header.Get("Sec-WebSocket-Protocol") != protocol {
		http.Error(w, "Not found", http.StatusNotFound)
		return
	}
	// As official servers do: the subprotocol is wanted, and not repeated.
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true },
		ReadBufferSize: 64 << 10, WriteBufferSize: 64 << 10}
	ws, err := up.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer ws.Close()
	say("upgraded", map[string]any{"host": r.Host, "path": r.URL.Path, "x_test": r.Header.Get("X-Test"),
		"user_agent": r.UserAgent()})
	conn := &wsConn{Conn: ws, kind: websocket.BinaryMessage}
	if s.misbehave.upgraded(conn) {
		return
	}
	if err := s.session(conn); err != nil {
		say("session_ended", map[string]any{"reason": err.Error()})
	} else {
		say("session_ended", map[string]any{"reason": ""})
	}
}

// session is one connection from the SSH handshake to its end.
func (s *server) session(conn net.Conn) error {
	// A client that goes quiet in the handshake must not stay for ever.
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	sc, channels, requests, err := ssh.NewServerConn(conn, s.ssh)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	defer sc.Close()
	conn.SetDeadline(time.Time{})
	go func() {
		for c := range channels {
			c.Reject(ssh.Prohibited, "no local forwards here")
		}
	}()
	names := sc.Conn.(ssh.AlgorithmsConnMetadata).Algorithms()
	say("handshake", map[string]any{"user": sc.User(), "client_version": string(sc.ClientVersion()),
		"kex": names.KeyExchange, "host_key": names.HostKey, "cipher": names.Read.Cipher, "mac": names.Read.MAC})

	var r *ssh.Request
	select {
	case r = <-requests:
	case <-time.After(10 * time.Second):
		return errors.New("no config request within 10 s")
	}
	if r == nil {
		return errors.New("gone before its config request")
	}
	if s.misbehave.config(r, requests) {
		return errors.New("misbehaved at config")
	}
	remotes, err := s.accept(r)
	if err != nil {
		r.Reply(false, []byte(err.Error()))
		go answer(requests)
		sc.Wait() // the client leaves; it has the reason
		return err
	}
	defer func() {
		for _, l := range remotes {
			l.close()
		}
	}()
	r.Reply(true, nil)
	for _, l := range remotes {
		say("listening", map[string]any{"port": l.port(), "target": l.target})
		go s.listen(sc, l)
	}
	go answer(requests)
	go s.misbehave.serving(sc)
	if s.pings > 0 {
		go s.keepalive(sc)
	}
	return sc.Wait()
}

func (s *server) keepalive(sc ssh.Conn) {
	for {
		time.Sleep(s.pings)
		_, pong, err := sc.SendRequest("ping", true, nil)
		if err != nil {
			return
		}
		say("pong", map[string]any{"payload": string(pong)})
	}
}

type listener struct {
	net.Listener
	target string
	mu     sync.Mutex
	conns  map[net.Conn]bool
}

func (l *listener) port() int { return l.Addr().(*net.TCPAddr).Port }

func (l *listener) close() {
	l.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		c.Close()
	}
}

func (s *server) accept(r *ssh.Request) (all []*listener, err error) {
	var c config
	if r.Type != "config" {
		return nil, errors.New("expecting config request")
	}
	if err := json.Unmarshal(r.Payload, &c); err != nil {
		return nil, errors.New("invalid config")
	}
	say("config", map[string]any{"version": c.Version, "remotes": c.Remotes})
	for _, m := range c.Remotes {
		l, err := s.bind(m)
		if err != nil {
			for _, l := range all {
				l.close()
			}
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

func (s *server) bind(m remote) (*listener, error) {
	if !m.Reverse || m.Socks || m.Stdio || m.LocalProto != "tcp" || m.RemoteProto != "tcp" {
		return nil, errors.New("only reverse TCP remotes here")
	}
	deadline := time.Now().Add(s.patience)
	for {
		l, err := net.Listen("tcp", net.JoinHostPort(m.LocalHost, m.LocalPort))
		if err == nil {
			return &listener{Listener: l, target: m.target(), conns: map[net.Conn]bool{}}, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("Server cannot listen on R:%s=>%s", m.LocalPort, m.target())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *server) listen(sc ssh.Conn, l *listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		l.mu.Lock()
		l.conns[c] = true
		l.mu.Unlock()
		go func() {
			s.stream(sc, l.target, c.(*net.TCPConn))
			l.mu.Lock()
			delete(l.conns, c)
			l.mu.Unlock()
		}()
	}
}

// stream carries one accepted connection over a channel of its own.
func (s *server) stream(sc ssh.Conn, target string, c *net.TCPConn) {
	defer c.Close()
	target = s.misbehave.target(target)
	ch, requests, err := sc.OpenChannel("chisel", []byte(target))
	if err != nil {
		what := map[string]any{"target": target, "reason": err.Error()}
		var open *ssh.OpenChannelError
		if errors.As(err, &open) {
			what["code"] = int(open.Reason)
			what["reason"] = open.Message
		}
		say("channel_refused", what)
		return
	}
	go ssh.DiscardRequests(requests)
	s.misbehave.channel(ch)
	out, in := pipe(c, ch, s.keepHalf)
	say("channel_closed", map[string]any{"target": target, "down": out, "up": in})
}
