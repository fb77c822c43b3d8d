package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// player is one connection: a good server but for what its script says.
type player struct {
	server   *server
	evil     bool
	ws       *wsConn
	t        transport
	ident    string // the client's
	session  []byte
	target   string
	sent     atomic.Int64
	received atomic.Int64 // bytes of channel data

	handshake chan []byte  // messages of key exchange and authentication
	nextRx    chan *sealer // for the client's NEWKEYS
	config    chan []byte
	pong      chan bool
	opened    chan bool // channel 0 is there
	echo      chan []byte
	over      chan struct{}

	mu      sync.Mutex
	why_    error // set before over closes
	replies map[string]int
	refused map[string]int
	write   sync.Mutex
	up      bool
	refill  int // bytes that came since the window was opened last
}

func appendU32(p []byte, values ...uint32) []byte {
	for _, v := range values {
		p = binary.BigEndian.AppendUint32(p, v)
	}
	return p
}

// life is a connection from the upgrade to an echo through its channel, with
// the script in between; nil when the client is still there after all of it.
func (p *player) life() error {
	p.replies, p.refused = map[string]int{}, map[string]int{}
	p.handshake, p.nextRx = make(chan []byte, 64), make(chan *sealer, 1)
	p.config, p.pong, p.opened = make(chan []byte, 16), make(chan bool, 64), make(chan bool, 4)
	p.echo, p.over = make(chan []byte, 1024), make(chan struct{})
	answer := ""
	if p.evil {
		answer = p.server.upgrade
	}
	if err := p.ws.upgrade(answer); err != nil {
		return err
	}
	p.t.ws, p.t.r = p.ws, bufio.NewReaderSize(p.ws, 64<<10)
	go p.read()
	if err := p.greet(); err != nil {
		return p.why(err)
	}
	if err := p.comeUp(); err != nil {
		return p.why(err)
	}
	if err := p.tryEcho("before"); err != nil {
		return p.why(err)
	}
	p.up = true
	say("up", map[string]any{"evil": p.evil})
	if err := p.play("up"); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return p.why(err)
	}
	return nil
}

// check asks the client whether all is well: a pong, then an echo.
func (p *player) check() error {
	if err := p.sendNow(append(str([]byte{80}, "ping"), 1)); err != nil {
		return err
	}
	select {
	case <-p.pong:
	case <-p.over:
		return p.ended()
	case <-time.After(p.server.patience):
		return errors.New("no pong")
	}
	if p.evil && !p.server.echo {
		return nil
	}
	return p.tryEcho("after")
}

func (p *player) tryEcho(text string) error {
	m := str(appendU32([]byte{94}, 0), text+"\n")
	if err := p.sendNow(m); err != nil {
		return err
	}
	got := []byte{}
	for !bytes.HasSuffix(got, []byte(text+"\n")) {
		select {
		case part := <-p.echo:
			got = append(got, part...)
		case <-p.over:
			return p.ended()
		case <-time.After(p.server.patience):
			return fmt.Errorf("no echo: %.80q", got)
		}
	}
	return nil
}

// greet: identification, key exchange, authentication.
func (p *player) greet() error {
	if err := p.play("ws"); err != nil {
		return err
	}
	if err := p.play("ident"); err != nil {
		return err
	}
	if _, err := p.ws.Write([]byte(serverIdent + "\r\n")); err != nil {
		return err
	}
	if err := p.exchange(true); err != nil {
		return err
	}
	if _, err := p.await(5); err != nil {
		return err
	}
	if err := p.sendNow(str([]byte{6}, "ssh-userauth")); err != nil {
		return err
	}
	if _, err := p.await(50); err != nil {
		return err
	}
	if err := p.play("auth"); err != nil {
		return err
	}
	return p.sendNow([]byte{52})
}

// comeUp: the config request, then a channel to the first target it names.
func (p *player) comeUp() error {
	var payload []byte
	select {
	case payload = <-p.config:
	case <-p.over:
		return p.ended()
	case <-time.After(p.server.patience):
		return errors.New("no config request")
	}
	var c struct {
		Remotes []struct{ RemoteHost, RemotePort string }
	}
	if err := json.Unmarshal(payload, &c); err != nil || len(c.Remotes) == 0 {
		return fmt.Errorf("config request: %.100q", payload)
	}
	p.target = net.JoinHostPort(c.Remotes[0].RemoteHost, c.Remotes[0].RemotePort)
	if err := p.play("config"); err != nil {
		return err
	}
	if err := p.sendNow([]byte{81}); err != nil {
		return err
	}
	if err := p.sendNow(p.openMessage("chisel", "@", 0)); err != nil {
		return err
	}
	select {
	case ok := <-p.opened:
		if !ok {
			return errors.New("the channel was refused")
		}
	case <-p.over:
		return p.ended()
	case <-time.After(p.server.patience):
		return errors.New("the channel was not answered")
	}
	return nil
}

// stay answers the client until it leaves.
func (p *player) stay() { <-p.over }

// send queues a message; sendNow is send and flush.
func (p *player) send(m []byte) error {
	p.write.Lock()
	defer p.write.Unlock()
	return p.t.packet(m)
}

func (p *player) inside(m []byte) error {
	p.write.Lock()
	defer p.write.Unlock()
	return p.t.inside(m)
}

func (p *player) flush() error {
	p.write.Lock()
	defer p.write.Unlock()
	return p.t.flush()
}

func (p *player) sendNow(m []byte) error {
	p.write.Lock()
	defer p.write.Unlock()
	if err := p.t.packet(m); err != nil {
		return err
	}
	return p.t.flush()
}

// read is the reader's whole life: it sorts what the client sends.
func (p *player) read() {
	err := p.readAll()
	p.mu.Lock()
	p.why_ = err
	p.mu.Unlock()
	close(p.over)
	close(p.handshake)
}

// why is what ended the connection: the client's own words rather than ours.
func (p *player) why(err error) error {
	var e ending
	if errors.As(err, &e) {
		return err
	}
	select {
	case <-p.over:
		return p.ended()
	case <-time.After(2 * time.Second):
		return err
	}
}

func (p *player) ended() error {
	<-p.over
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.why_
}

func (p *player) counts() (replies, refused map[string]int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	replies, refused = map[string]int{}, map[string]int{}
	for k, v := range p.replies {
		replies[k] = v
	}
	for k, v := range p.refused {
		refused[k] = v
	}
	return replies, refused
}

func (p *player) readAll() error {
	line, err := p.t.r.ReadString('\n')
	if err != nil {
		return err
	}
	p.ident = strings.TrimRight(line, "\r\n")
	for {
		if p.up && p.evil && p.server.deaf {
			time.Sleep(p.server.patience)
			return errors.New("deaf")
		}
		m, err := p.t.readPacket()
		if err != nil {
			return err
		}
		if len(m) == 0 {
			return errors.New("a packet without a message")
		}
		p.mu.Lock()
		p.replies[strconv.Itoa(int(m[0]))]++
		p.mu.Unlock()
		if err := p.take(m); err != nil {
			return err
		}
	}
}

func (p *player) take(m []byte) error {
	switch t := m[0]; {
	case t == msgDisconnect:
		e := ending{kind: "disconnect"}
		if len(m) >= 5 {
			e.code = binary.BigEndian.Uint32(m[1:])
			e.text, _, _ = take(m[5:])
		}
		return e
	case t == msgNewkeys:
		p.t.rx = <-p.nextRx
		if p.server.strict {
			p.t.rxSeq = 0
		}
		p.handshake <- m
	case t < 80 && t > 4:
		p.handshake <- m
	case t == 80:
		return p.takeRequest(m)
	case t == 81 || t == 82:
		select {
		case p.pong <- t == 81:
		default:
		}
	case t >= 91 && len(m) >= 5:
		return p.takeChannel(m)
	}
	return nil
}

func (p *player) takeRequest(m []byte) error {
	name, rest, err := take(m[1:])
	if err != nil || len(rest) == 0 {
		return errors.New("a global request that is cut short")
	}
	if name == "config" {
		p.config <- rest[1:]
		return nil
	}
	if rest[0] == 0 {
		return nil
	}
	return p.sendNow([]byte{81})
}

// takeChannel: only channel 0 is kept in order; others are counted.
func (p *player) takeChannel(m []byte) error {
	number := binary.BigEndian.Uint32(m[1:])
	switch m[0] {
	case 91, 92:
		if m[0] == 92 && len(m) >= 9 {
			p.mu.Lock()
			p.refused[strconv.Itoa(int(binary.BigEndian.Uint32(m[5:])))]++
			p.mu.Unlock()
		}
		if number == 0 {
			p.opened <- m[0] == 91
		}
	case 94:
		data, _, err := take(m[5:])
		if err != nil {
			return err
		}
		p.received.Add(int64(len(data)))
		if number == 0 && len(data) < 1000 {
			select {
			case p.echo <- []byte(data):
			default:
			}
		}
		return p.credit(number, len(data))
	}
	return nil
}

// credit gives back what came, in steps that are no flood.
func (p *player) credit(number uint32, n int) error {
	if number != 0 {
		return nil
	}
	p.mu.Lock()
	p.refill += n
	due := p.refill
	if due < 1<<20 {
		p.mu.Unlock()
		return nil
	}
	p.refill = 0
	p.mu.Unlock()
	return p.sendNow(appendU32([]byte{93}, 0, uint32(due)))
}
