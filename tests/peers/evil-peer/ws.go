package main

import (
	"bufio"
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"sync"
)

// wsConn is the server's end of a WebSocket: Read and Write are the stream of
// bytes inside its binary messages; Conn is below it.
type wsConn struct {
	net.Conn
	r      *bufio.Reader
	server *server
	left   uint64 // of the frame being read
	key    [4]byte
	at     int
	write  sync.Mutex
}

// upgrade reads the request and sends the answer, which a test may have written.
func (c *wsConn) upgrade(answer string) error {
	tp := textproto.NewReader(c.r)
	if _, err := tp.ReadLine(); err != nil {
		return err
	}
	head, err := tp.ReadMIMEHeader()
	if err != nil {
		return err
	}
	sum := sha1.Sum([]byte(head.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	if answer == "" {
		answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: chisel-v3\r\n\r\n"
	}
	answer = strings.ReplaceAll(answer, "{nul}", "\x00")
	answer = strings.ReplaceAll(answer, "{accept}", base64.StdEncoding.EncodeToString(sum[:]))
	say("upgrade", map[string]any{"offers": head.Values("Sec-WebSocket-Protocol"),
		"extensions": head.Values("Sec-WebSocket-Extensions"), "authorization": head.Get("Authorization") != ""})
	_, err = io.WriteString(c.Conn, answer)
	return err
}

// frame is one unmasked frame, as servers send them.
func frame(op byte, payload []byte) []byte {
	head := []byte{0x80 | op}
	switch n := len(payload); {
	case n < 126:
		head = append(head, byte(n))
	case n < 1<<16:
		head = binary.BigEndian.AppendUint16(append(head, 126), uint16(n))
	default:
		head = binary.BigEndian.AppendUint64(append(head, 127), uint64(n))
	}
	return append(head, payload...)
}

func (c *wsConn) Write(p []byte) (int, error) {
	if _, err := c.raw(frame(2, p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// raw is bytes of the TCP (or TLS) connection.
func (c *wsConn) raw(p []byte) (int, error) {
	c.write.Lock()
	defer c.write.Unlock()
	return c.Conn.Write(p)
}

func (c *wsConn) Read(p []byte) (int, error) {
	for c.left == 0 {
		if err := c.head(); err != nil {
			return 0, err
		}
	}
	n, err := c.r.Read(p[:min(uint64(len(p)), c.left)])
	for i := range p[:n] {
		p[i] ^= c.key[c.at&3]
		c.at++
	}
	c.left -= uint64(n)
	return n, err
}

// head reads frame heads up to one of a binary message; others are dealt with.
func (c *wsConn) head() error {
	var b [8]byte
	if _, err := io.ReadFull(c.r, b[:2]); err != nil {
		return ending{kind: "eof", text: err.Error()}
	}
	op, masked, n := b[0]&15, b[1]&0x80 != 0, uint64(b[1]&0x7f)
	if wide := map[uint64]int{126: 2, 127: 8}[n]; wide > 0 {
		if _, err := io.ReadFull(c.r, b[8-wide:]); err != nil {
			return err
		}
		clear(b[:8-wide])
		n = binary.BigEndian.Uint64(b[:])
	}
	c.key, c.at = [4]byte{}, 0
	if masked {
		if _, err := io.ReadFull(c.r, c.key[:]); err != nil {
			return err
		}
	}
	c.server.note(masked, binary.BigEndian.Uint32(c.key[:]))
	if op == 2 || op == 0 {
		c.left = n
		return nil
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(c.r, payload); err != nil {
		return err
	}
	for i := range payload {
		payload[i] ^= c.key[i&3]
	}
	if op == 8 {
		e := ending{kind: "ws_close", code: 1005}
		if len(payload) >= 2 {
			e.code, e.text = uint32(binary.BigEndian.Uint16(payload)), string(payload[2:])
		}
		return e
	}
	if op == 10 {
		c.server.mu.Lock()
		c.server.pongs++
		c.server.mu.Unlock()
	} else {
		return fmt.Errorf("frame of opcode %d: %x", op, bytes.TrimSpace(payload))
	}
	return nil
}

// note keeps what mask keys came.
func (s *server) note(masked bool, key uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames++
	if !masked {
		s.bare++
	} else if len(s.masks) < 1<<20 {
		s.masks[key] = true
	}
}
