package main

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// The plain SSH server: password, tcpip-forward, forwarded-tcpip (RFC 4254, 7),
// and the ways in which one may go wrong.
var sshModes = []struct{ name, what string }{
	{"silent", "accepts and says nothing"},
	{"garbage", "sends bytes that are no SSH"},
	{"endless-banner", "sends lines before its identification without end"},
	{"endless-line", "sends a line without an end"},
	{"stall-kex", "says who it is and no more"},
	{"stall-auth", "never answers a password"},
	{"stall-listen", "never answers a tcpip-forward"},
	{"stall-pings", "never answers a channel that the client opens"},
	{"grant-pings", "opens every channel that the client asks for"},
	{"unasked", "opens forwarded-tcpip channels that nobody asked for, and other kinds"},
	{"pile-up", "opens 2000 channels of the first forward at once, sends on each and leaves them"},
	{"stuff", "opens 40 channels of the first forward and sends as much as their windows take"},
	{"early", "opens 50 channels at once, sends on each and ends it before anybody answered"},
	{"leave", "opens 300 channels and closes each at once"},
	{"drop", "ends the connection as soon as the forwards are agreed"},
}

type sshServer struct {
	config    *ssh.ServerConfig
	misbehave string
}

func sshServerMain(args []string) {
	f := flag.NewFlagSet("ssh-server", flag.ExitOnError)
	port := f.Int("port", 0, "port; 0 takes a free one")
	auth := f.String("auth", "", "user:pass; default: anybody")
	kind := f.String("host-key", "ed25519", "ed25519, ecdsa or rsa")
	ciphers := f.String("cipher", "", "comma separated; default: the library's")
	macs := f.String("mac", "", "comma separated")
	var names []string
	for _, m := range sshModes {
		names = append(names, m.name)
	}
	misbehave := f.String("misbehave", "", strings.Join(names, ", "))
	f.Parse(args)
	signer, err := hostKey(*kind, "", "")
	if err != nil {
		fail(err)
	}
	s := &sshServer{misbehave: *misbehave, config: &ssh.ServerConfig{PasswordCallback: password(*auth)}}
	if s.misbehave == "stall-auth" {
		s.config.PasswordCallback = func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) { select {} }
	}
	s.config.Ciphers, s.config.MACs = list(*ciphers), list(*macs)
	s.config.AddHostKey(signer)
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(*port)))
	if err != nil {
		fail(err)
	}
	say("ready", map[string]any{"port": l.Addr().(*net.TCPAddr).Port, "pid": os.Getpid(),
		"fingerprint": fingerprint(signer.PublicKey())})
	for {
		c, err := l.Accept()
		if err != nil {
			fail(err)
		}
		go func() {
			defer c.Close()
			if !s.raw(c) {
				return
			}
			if err := s.session(c); err != nil {
				say("session_ended", map[string]any{"error": err.Error()})
			}
		}()
	}
}

// raw misbehaves below SSH; false when that was all.
func (s *sshServer) raw(c net.Conn) bool {
	junk := make([]byte, 1<<16)
	rand.Read(junk)
	write := func(p []byte) {
		for n := 0; n < 64<<20; n += len(p) {
			if _, err := c.Write(p); err != nil {
				return
			}
		}
	}
	switch s.misbehave {
	case "silent":
	case "garbage":
		write(junk)
	case "endless-banner":
		write([]byte(strings.Repeat("go on reading\r\n", 1000)))
	case "endless-line":
		write([]byte(strings.Repeat("SSH-2.0-", 8192)))
	case "stall-kex":
		c.Write([]byte("SSH-2.0-stall\r\n"))
	default:
		return true
	}
	// Until the client has had enough; what it says is of no interest.
	for {
		if _, err := c.Read(junk); err != nil {
			return false
		}
	}
}

// forward is what tcpip-forward asks for; also the first half of the extra data
// of a forwarded-tcpip channel.
type forward struct {
	Host string
	Port uint32
}

type forwarded struct {
	Host       string
	Port       uint32
	OriginHost string
	OriginPort uint32
}

func (s *sshServer) session(c net.Conn) error {
	sc, channels, requests, err := ssh.NewServerConn(c, s.config)
	if err != nil {
		return err
	}
	defer sc.Close()
	say("session", map[string]any{"client": string(sc.ClientVersion())})
	go s.channels(channels)
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for r := range requests {
		if r.Type != "tcpip-forward" {
			r.Reply(false, nil)
			continue
		}
		var f forward
		if err := ssh.Unmarshal(r.Payload, &f); err != nil {
			return err
		}
		if s.misbehave == "stall-listen" {
			say("stalled", map[string]any{"port": f.Port})
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(f.Port)))
		r.Reply(err == nil, nil)
		if err != nil {
			continue
		}
		listeners = append(listeners, l)
		say("listening", map[string]any{"host": f.Host, "port": f.Port})
		go s.listen(sc, l, f)
		if len(listeners) == 1 {
			go s.serving(sc, f)
		}
	}
	return errors.New("the client is gone")
}

// channels of the client's: its pings.
func (s *sshServer) channels(channels <-chan ssh.NewChannel) {
	for offered := range channels {
		say("ping", map[string]any{"type": offered.ChannelType()})
		switch s.misbehave {
		case "stall-pings":
		case "grant-pings":
			if ch, requests, err := offered.Accept(); err == nil {
				go ssh.DiscardRequests(requests)
				go func() {
					_, err := ch.Read(make([]byte, 1)) // until the client ends it
					say("granted_ended", map[string]any{"why": fmt.Sprint(err)})
					ch.Close()
				}()
			}
		default:
			offered.Reject(ssh.UnknownChannelType, "no such type")
		}
	}
}

func (s *sshServer) listen(sc ssh.Conn, l net.Listener, f forward) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			ch, requests, err := open(sc, f, c.RemoteAddr().(*net.TCPAddr).Port)
			if err != nil {
				say("channel_refused", map[string]any{"reason": err.Error()})
				return
			}
			go ssh.DiscardRequests(requests)
			pipe(c.(*net.TCPConn), ch, true)
		}()
	}
}

func open(sc ssh.Conn, f forward, from int) (ssh.Channel, <-chan *ssh.Request, error) {
	return sc.OpenChannel("forwarded-tcpip", ssh.Marshal(forwarded{f.Host, f.Port, "127.0.0.1", uint32(from)}))
}

// serving is what a server does by itself once the first forward is agreed.
func (s *sshServer) serving(sc ssh.Conn, f forward) {
	time.Sleep(100 * time.Millisecond) // the others are asked for meanwhile
	switch s.misbehave {
	case "unasked":
		s.unasked(sc, f)
	case "pile-up":
		s.fill(sc, f, 2000, 100)
	case "stuff":
		s.fill(sc, f, 40, 8<<20)
	case "early":
		s.early(sc, f, 50)
	case "leave":
		s.leave(sc, f, 300)
	case "drop":
		sc.Close()
	}
}

func (s *sshServer) unasked(sc ssh.Conn, f forward) {
	tries := []struct {
		kind  string
		extra []byte
	}{
		{"forwarded-tcpip", ssh.Marshal(forwarded{f.Host, f.Port + 1, "127.0.0.1", 1})},
		{"forwarded-tcpip", ssh.Marshal(forwarded{f.Host + ".", f.Port, "127.0.0.1", 1})},
		{"forwarded-tcpip", ssh.Marshal(forwarded{"", f.Port, "127.0.0.1", 1})},
		{"forwarded-tcpip", ssh.Marshal(forwarded{f.Host, f.Port + 1<<16, "127.0.0.1", 1})},
		{"x11", ssh.Marshal(forward{"127.0.0.1", 6000})},
		{"session", nil},
		{"direct-tcpip", ssh.Marshal(forwarded{"127.0.0.1", f.Port, "127.0.0.1", 1})},
		{"chisel", []byte("localhost:22")},
	}
	for _, t := range tries {
		// Some kinds are never answered by the client's library.
		got := make(chan error, 1)
		go func() {
			_, _, err := sc.OpenChannel(t.kind, t.extra)
			got <- err
		}()
		select {
		case err := <-got:
			say("unasked", map[string]any{"type": t.kind, "granted": err == nil, "answered": true})
		case <-time.After(300 * time.Millisecond):
			say("unasked", map[string]any{"type": t.kind, "granted": false, "answered": false})
		}
	}
	say("unasked_done", nil)
}

// fill opens n channels and sends size bytes on each, as far as it is let.
func (s *sshServer) fill(sc ssh.Conn, f forward, n, size int) {
	var wait sync.WaitGroup
	var mu sync.Mutex
	granted, refused, sent := 0, 0, 0
	data := make([]byte, 32<<10)
	binary.BigEndian.PutUint64(data, 1)
	for i := 0; i < n; i++ {
		wait.Add(1)
		go func() {
			ch, requests, err := open(sc, f, i+1)
			mu.Lock()
			if err != nil {
				refused++
			} else {
				granted++
			}
			mu.Unlock()
			wait.Done()
			if err != nil {
				return
			}
			go ssh.DiscardRequests(requests)
			for left := size; left > 0; {
				k, err := ch.Write(data[:min(left, len(data))])
				mu.Lock()
				sent += k
				mu.Unlock()
				if err != nil {
					return
				}
				left -= k
			}
		}()
	}
	wait.Wait()
	say("filled", map[string]any{"granted": granted, "refused": refused})
	last := -1
	for {
		time.Sleep(500 * time.Millisecond)
		mu.Lock()
		now := sent
		mu.Unlock()
		if now == last {
			break
		}
		last = now
	}
	say("settled", map[string]any{"sent": last})
}

// early speaks first, and to the end, and waits for the echo.
func (s *sshServer) early(sc ssh.Conn, f forward, n int) {
	var wait sync.WaitGroup
	var mu sync.Mutex
	whole := 0
	for i := 0; i < n; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			ch, requests, err := open(sc, f, i+1)
			if err != nil {
				return
			}
			go ssh.DiscardRequests(requests)
			text := strings.Repeat(fmt.Sprintf("early %d;", i), 1000)
			ch.Write([]byte(text))
			ch.CloseWrite()
			back, err := io.ReadAll(ch)
			if err == nil && string(back) == text {
				mu.Lock()
				whole++
				mu.Unlock()
			}
			ch.Close()
		}()
	}
	wait.Wait()
	say("echoed", map[string]any{"whole": whole})
}

func (s *sshServer) leave(sc ssh.Conn, f forward, n int) {
	for i := 0; i < n; i++ {
		ch, requests, err := open(sc, f, i+1)
		if err != nil {
			continue
		}
		go ssh.DiscardRequests(requests)
		ch.Close()
	}
	say("left", nil)
}
