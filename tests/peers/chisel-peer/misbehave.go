package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/crypto/ssh"
)

// mode is one way to break the rules, with its argument.
type mode struct{ name, text string }

var modes = []struct{ name, text, what string }{
	{"", "", ""},
	{"wrong-target", "169.254.169.254:80", "opens channels to a target that no remote names"},
	{"no-config-reply", "", "never answers the config request"},
	{"refuse-config", "access denied", "refuses the config request with this reason"},
	{"not-ssh", "", "sends bytes that are no SSH after the upgrade"},
	{"plain-http", "", "answers every request with 200 and a page"},
	{"redirect", "http://127.0.0.1:9/", "answers with 302 to this place"},
	{"status", "503", "answers with this HTTP status"},
	{"text-frames", "", "carries SSH in text messages"},
	{"stall-before-upgrade", "", "never answers the upgrade"},
	{"stall-after-upgrade", "", "says nothing after the upgrade"},
	{"close-after-upgrade", "", "closes the WebSocket at once"},
	{"wrong-accept", "", "answers the upgrade with a wrong key"},
	{"other-subprotocol", "", "agrees to a subprotocol that was not offered"},
	{"giant-message", "", "announces a WebSocket message of 2^40 bytes"},
	{"endless-banner", "", "sends lines before the SSH identification without end"},
	{"pile-up", "127.0.0.1:9", "opens 600 channels (or *N) to this target, sends on each and closes it"},
	{"wrong-channel-type", "", "opens channels of types that a tunnel client does not have"},
	{"extended-data", "", "sends the first bytes of a channel as stderr data as well"},
	{"goodbye", "", "disconnects as soon as the tunnel is up"},
}

func modeNames() string {
	var names []string
	for _, m := range modes[1:] {
		names = append(names, m.name)
	}
	return strings.Join(names, ", ")
}

func newMode(text string) (mode, error) {
	name, arg, given := strings.Cut(text, "=")
	for _, m := range modes {
		if m.name == name {
			if !given {
				arg = m.text
			}
			return mode{name, arg}, nil
		}
	}
	return mode{}, fmt.Errorf("--misbehave %q: one of %s", name, modeNames())
}

// http answers in place of the upgrade; true when it did.
func (m mode) http(w http.ResponseWriter, r *http.Request) bool {
	switch m.name {
	case "plain-http":
		fmt.Fprintln(w, "<html>It works!</html>")
	case "redirect":
		http.Redirect(w, r, m.text, http.StatusFound)
	case "status":
		var code int
		fmt.Sscan(m.text, &code)
		http.Error(w, "not today", code)
	case "stall-before-upgrade":
		<-r.Context().Done()
	case "wrong-accept", "other-subprotocol":
		m.upgradeBadly(w, r)
	default:
		return false
	}
	return true
}

func (m mode) upgradeBadly(w http.ResponseWriter, r *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	head := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	if m.name == "wrong-accept" {
		head += "Sec-WebSocket-Protocol: " + protocol + "\r\nSec-WebSocket-Accept: d3JvbmcgYW5zd2VyIGZvciB5b3U=\r\n\r\n"
	} else {
		head += "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Accept: " + acceptKey(r.Header.Get("Sec-WebSocket-Key")) + "\r\n\r\n"
	}
	io.WriteString(conn, head)
	io.Copy(io.Discard, conn)
}

// upgraded acts on the fresh WebSocket; true when the session is over.
func (m mode) upgraded(c *wsConn) bool {
	switch m.name {
	case "text-frames":
		c.kind = websocket.TextMessage
		return false
	case "not-ssh":
		c.Write(bytes.Repeat([]byte("GET / HTTP/1.1\x00\xff\x1b[31m\r\n"), 4000))
	case "stall-after-upgrade":
	case "close-after-upgrade":
		return true
	case "giant-message":
		c.NetConn().Write([]byte{0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0, 'S', 'S', 'H'})
	case "endless-banner":
		for {
			if _, err := c.Write([]byte(strings.Repeat("welcome to the machine\r\n", 100))); err != nil {
				return true
			}
		}
	default:
		return false
	}
	io.Copy(io.Discard, c)
	return true
}

// config acts on the config request; true when the session is over.
func (m mode) config(r *ssh.Request, rest <-chan *ssh.Request) bool {
	switch m.name {
	case "no-config-reply":
	case "refuse-config":
		r.Reply(false, []byte(m.text))
	default:
		return false
	}
	for range rest {
		// until the client gives up
	}
	return true
}

func (m mode) target(real string) string {
	if m.name == "wrong-target" {
		return m.text
	}
	return real
}

func (m mode) channel(ch ssh.Channel) {
	if m.name == "extended-data" {
		io.WriteString(ch.Stderr(), strings.Repeat("this is not for your service\n", 1000))
	}
}

// serving runs beside a session that is up.
func (m mode) serving(sc ssh.Conn) {
	switch m.name {
	case "pile-up":
		m.pileUp(sc)
	case "wrong-channel-type":
		for _, kind := range []string{"session", "direct-tcpip", "forwarded-tcpip", "x11", "Chisel", "chisel\x00", ""} {
			m.open(sc, kind, "localhost:22", true)
		}
		say("wrong_types_done", nil)
	case "goodbye":
		sc.Close()
	}
}

func (m mode) pileUp(sc ssh.Conn) {
	var mu sync.Mutex
	var all sync.WaitGroup
	granted, refused := 0, map[string]int{}
	target, times, _ := strings.Cut(m.text, "*")
	n, err := strconv.Atoi(times)
	if err != nil {
		n = 600
	}
	for range 200 {
		all.Add(1)
		go func() {
			defer all.Done()
			for range n / 200 {
				ch, requests, err := sc.OpenChannel("chisel", []byte(target))
				var open *ssh.OpenChannelError
				mu.Lock()
				if errors.As(err, &open) {
					refused[fmt.Sprint(int(open.Reason))]++
				} else if err == nil {
					granted++
				}
				mu.Unlock()
				if err == nil {
					go ssh.DiscardRequests(requests)
					sent := make(chan struct{})
					go func() {
						ch.Write(make([]byte, 256*1024))
						close(sent)
					}()
					select { // a window that nobody empties holds it up
					case <-sent:
					case <-time.After(200 * time.Millisecond):
					}
					ch.Close()
				}
			}
		}()
	}
	all.Wait()
	say("piled_up", map[string]any{"granted": granted, "refused": refused})
}

func (m mode) open(sc ssh.Conn, kind, extra string, tell bool) {
	ch, requests, err := sc.OpenChannel(kind, []byte(extra))
	if err == nil {
		say("channel_granted", map[string]any{"kind": kind, "target": extra})
		go ssh.DiscardRequests(requests)
		ch.Close()
		return
	}
	var open *ssh.OpenChannelError
	if errors.As(err, &open) && tell {
		say("channel_refused", map[string]any{"kind": kind, "target": extra, "code": int(open.Reason), "reason": open.Message})
	}
	if !errors.As(err, &open) {
		time.Sleep(100 * time.Millisecond) // the session is over; its end is told elsewhere
	}
}
