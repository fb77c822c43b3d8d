package main

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/crypto/ssh"
)

const (
	protocol      = "chisel-v3"
	clientVersion = "SSH-chisel-v3-client"
	serverVersion = "SSH-chisel-v3-server"
)

// remote is one entry of the config request; names as on the wire.
type remote struct {
	LocalHost, LocalPort, LocalProto    string
	RemoteHost, RemotePort, RemoteProto string
	Socks, Reverse, Stdio               bool
}

func (r remote) target() string {
	return net.JoinHostPort(r.RemoteHost, r.RemotePort)
}

type config struct {
	Version string
	Remotes []remote
}

func fingerprint(key ssh.PublicKey) string {
	sum := sha256.Sum256(key.Marshal())
	return base64.StdEncoding.EncodeToString(sum[:])
}

// wsConn is a WebSocket as a byte stream; boundaries of messages mean nothing.
type wsConn struct {
	*websocket.Conn
	kind   int // of the messages sent
	reader io.Reader
	write  sync.Mutex
}

func (c *wsConn) Read(p []byte) (int, error) {
	for {
		if c.reader == nil {
			_, r, err := c.NextReader()
			if err != nil {
				return 0, err
			}
			c.reader = r
		}
		n, err := c.reader.Read(p)
		if err == io.EOF {
			c.reader = nil
			if n == 0 {
				continue
			}
			err = nil
		}
		return n, err
	}
}

func (c *wsConn) Write(p []byte) (int, error) {
	c.write.Lock()
	defer c.write.Unlock()
	if err := c.WriteMessage(c.kind, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *wsConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// halfCloser is what both ends of a pipe can do.
type halfCloser interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// pipe copies both ways.  With keepHalf each direction ends on its own, which
// is what TCP does; without, the end of one ends both, as the official server.
func pipe(a, b halfCloser, keepHalf bool) (ab, ba int64) {
	var wait sync.WaitGroup
	var once sync.Once
	both := func() { a.Close(); b.Close() }
	one := func(to, from halfCloser, n *int64) {
		defer wait.Done()
		var err error
		*n, err = io.Copy(to, from)
		if err != nil || !keepHalf {
			once.Do(both)
			return
		}
		to.CloseWrite()
	}
	wait.Add(2)
	go one(b, a, &ab)
	go one(a, b, &ba)
	wait.Wait()
	once.Do(both)
	return ab, ba
}

// answer replies to the global requests of a peer: ping is pong, the rest no.
func answer(requests <-chan *ssh.Request) {
	for r := range requests {
		if r.Type == "ping" {
			r.Reply(true, []byte("pong"))
		} else if r.WantReply {
			r.Reply(false, nil)
		}
	}
}
