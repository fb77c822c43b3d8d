package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Where in the life of a connection the actions of a script stand.
var places = []string{
	"ws",                                    // the WebSocket is open, nothing was said
	"ident",                                 // in front of the identification line
	"kexinit",                               // … of our KEXINIT
	"method",                                // between KEXINIT and ECDH_REPLY
	"newkeys",                               // between ECDH_REPLY and NEWKEYS
	"keyed",                                 // after NEWKEYS, in front of SERVICE_ACCEPT
	"auth",                                  // in front of the answer to a request for authentication
	"config",                                // in front of the answer to the config request
	"up",                                    // the tunnel is up and a channel (its number is 0) carried an echo
	"re-kexinit", "re-method", "re-newkeys", // the same of a re-exchange (action rekey)
}

// An action is VERB=ARGUMENT; *N at its end repeats it.
var verbs map[string]func(p *player, argument string, times int) error

func init() { // not at the variable: actions may play places
	verbs = map[string]func(p *player, argument string, times int) error{
		"say":    (*player).actSay,    // HEX: a message, sealed
		"raw":    (*player).actRaw,    // HEX: bytes of the SSH stream that are no packet
		"frame":  (*player).actFrame,  // HEX: bytes of the TCP stream that are no WebSocket
		"drip":   (*player).actDrip,   // HEX: the same, a byte each 200 ms
		"length": (*player).actLength, // N: the head of a packet of length N, and some noise
		"size":   (*player).actSize,   // N: a good packet (IGNORE) of length N
		"pad":    (*player).actPad,    // N: a packet, authentic, whose padding length says N
		"open":   (*player).actOpen,   // TARGET: CHANNEL_OPEN for it; @ is the real one
		"type":   (*player).actType,   // TYPE: CHANNEL_OPEN of this type for the real target
		"data":   (*player).actData,   // N or N,CHANNEL: so many bytes of channel data, whatever the window is
		"upload": (*player).actUpload, // N: waits until the service has sent so much more on channel 0
		"rekey":  (*player).actRekey,  // a key exchange
		"stall":  (*player).actStall,  // nothing more is said
		"sleep":  (*player).actSleep,  // DURATION
		"rtt":    (*player).actRtt,    // N: so many echoes on channel 0, timed, eight useless replies before each
		"drop":   (*player).actDrop,   // the TCP connection ends
	}
}

type action struct {
	place, verb, argument string
	times                 int
}

type script []action

func (s *script) String() string { return fmt.Sprint(*s) }

func (s *script) Set(text string) error {
	place, rest, _ := strings.Cut(text, ":")
	verb, argument, _ := strings.Cut(rest, "=")
	a := action{place: place, verb: verb, argument: argument, times: 1}
	if i := strings.LastIndex(argument, "*"); i >= 0 {
		n, err := strconv.Atoi(argument[i+1:])
		if err == nil {
			a.argument, a.times = argument[:i], n
		}
	}
	if !slices.Contains(places, a.place) || verbs[a.verb] == nil {
		return fmt.Errorf("%q is no PLACE:ACTION", text)
	}
	*s = append(*s, a)
	return nil
}

// play does what the script says of this place.
func (p *player) play(place string) error {
	if !p.evil {
		return nil
	}
	for _, a := range p.server.script {
		if a.place != place {
			continue
		}
		err := verbs[a.verb](p, a.argument, a.times)
		if err == nil {
			err = p.flush()
		}
		say("played", map[string]any{"place": place, "verb": a.verb, "sent": p.sent.Load()})
		if err != nil {
			return p.why(err)
		}
	}
	return nil
}

func (p *player) actSay(argument string, times int) error {
	m, err := hex.DecodeString(argument)
	if err != nil {
		return err
	}
	return p.repeat(times, func(int) error { return p.send(m) })
}

func (p *player) repeat(times int, one func(i int) error) error {
	for i := range times {
		if err := one(i); err != nil {
			return err
		}
		p.sent.Add(1)
	}
	return nil
}

func (p *player) actRaw(argument string, times int) error {
	m, err := hex.DecodeString(argument)
	if err != nil {
		return err
	}
	m = bytes.Repeat(m, times)
	for len(m) > 0 {
		n, err := p.ws.Write(m[:min(len(m), batch)])
		if err != nil {
			return err
		}
		m = m[n:]
		p.sent.Add(int64(n))
	}
	return nil
}

func (p *player) actFrame(argument string, times int) error {
	m, err := hex.DecodeString(argument)
	if err != nil {
		return err
	}
	// Many in one write, as a flood is.
	each := max(1, batch/max(1, len(m)))
	for times > 0 {
		n := min(times, each)
		if _, err := p.ws.raw(bytes.Repeat(m, n)); err != nil {
			return err
		}
		times -= n
		p.sent.Add(int64(n))
	}
	return nil
}

func (p *player) actDrip(argument string, _ int) error {
	m, err := hex.DecodeString(argument)
	if err != nil {
		return err
	}
	for i := range m {
		if _, err := p.ws.raw(m[i : i+1]); err != nil {
			return err
		}
		p.sent.Add(1)
		time.Sleep(200 * time.Millisecond)
	}
	return nil
}

func (p *player) actLength(argument string, _ int) error {
	n, err := strconv.ParseUint(argument, 10, 32)
	if err != nil {
		return err
	}
	if err := p.flush(); err != nil {
		return err
	}
	p.sent.Add(1)
	_, err = p.ws.Write(append(p.t.tx.head(p.t.txSeq, uint32(n)), make([]byte, 4096)...))
	return err
}

func (p *player) actSize(argument string, times int) error {
	n, err := strconv.Atoi(argument)
	if err != nil {
		return err
	}
	pad := max(4, min(n-6, 200)) // what is left is the message's
	return p.repeat(times, func(int) error {
		m := str([]byte{2}, string(make([]byte, n-1-pad-5)))
		return p.inside(p.t.padded(m, n))
	})
}

func (p *player) actPad(argument string, _ int) error {
	n, err := strconv.Atoi(argument)
	if err != nil {
		return err
	}
	m := make([]byte, 32)
	if p.t.tx == nil {
		m = make([]byte, 28)
	}
	m[0], m[1] = byte(n), 2
	p.sent.Add(1)
	return p.inside(m)
}

func (p *player) openMessage(kind, target string, number int) []byte {
	if target == "@" {
		target = p.target
	}
	m := str([]byte{90}, kind)
	m = appendU32(m, uint32(number), 2<<20, uint32(p.server.packet))
	return append(m, target...)
}

func (p *player) actOpen(argument string, times int) error {
	target := strings.ReplaceAll(argument, "{long}", strings.Repeat("x", 32000))
	if t, err := strconv.Unquote(`"` + target + `"`); err == nil {
		target = t
	}
	return p.repeat(times, func(i int) error { return p.send(p.openMessage("chisel", target, 1000+i)) })
}

func (p *player) actType(argument string, times int) error {
	return p.repeat(times, func(i int) error { return p.send(p.openMessage(argument, "@", 1000+i)) })
}

func (p *player) actData(argument string, times int) error {
	size, channel, _ := strings.Cut(argument, ",")
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	number, _ := strconv.Atoi(channel)
	return p.repeat(times, func(int) error {
		for left := n; left > 0; left -= 32768 {
			m := appendU32([]byte{94}, uint32(number))
			if err := p.send(str(m, string(make([]byte, min(left, 32768))))); err != nil {
				return err
			}
		}
		return nil
	})
}

func (p *player) actUpload(argument string, _ int) error {
	n, err := strconv.ParseInt(argument, 10, 64)
	if err != nil {
		return err
	}
	if err := p.flush(); err != nil {
		return err
	}
	for p.received.Load() < n {
		select {
		case <-p.over:
			return p.ended()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

func (p *player) actRekey(_ string, times int) error {
	return p.repeat(times, func(int) error { return p.exchange(false) })
}

func (p *player) actStall(string, int) error {
	if err := p.flush(); err != nil {
		return err
	}
	<-p.over
	return p.ended()
}

func (p *player) actSleep(argument string, _ int) error {
	d, err := time.ParseDuration(argument)
	if err != nil {
		return err
	}
	if err := p.flush(); err != nil {
		return err
	}
	time.Sleep(d)
	return nil
}

func (p *player) actRtt(argument string, _ int) error {
	n, err := strconv.Atoi(argument)
	if err != nil {
		return err
	}
	var took []int64
	for range n {
		if err := p.repeat(8, func(int) error { return p.send([]byte{81}) }); err != nil {
			return err
		}
		began := time.Now()
		if err := p.tryEcho("rtt"); err != nil {
			return err
		}
		took = append(took, time.Since(began).Microseconds())
		time.Sleep(90 * time.Millisecond)
	}
	slices.Sort(took)
	say("rtt", map[string]any{"p50_us": took[n/2], "p99_us": took[n*99/100], "most_us": took[n-1]})
	return nil
}

func (p *player) actDrop(string, int) error {
	if err := p.flush(); err != nil {
		return err
	}
	p.ws.Close()
	return errors.New("dropped")
}
