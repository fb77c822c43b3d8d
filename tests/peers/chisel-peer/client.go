package main

import (
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/crypto/ssh"
)

// acceptKey is RFC 6455, 4.2.2, 5.4.
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func clientMain(args []string) {
	f := flag.NewFlagSet("client", flag.ExitOnError)
	print := f.String("fingerprint", "", "the host key must have this one")
	auth := f.String("auth", "", "user:pass")
	ca := f.String("tls-ca", "", "PEM file that verifies the server")
	rekey := f.Uint64("rekey-threshold", 0, "bytes until a new key exchange; 0: the library's")
	ciphers := f.String("cipher", "", "comma separated")
	kex := f.String("kex", "", "comma separated")
	f.Parse(args)
	if f.NArg() < 2 {
		fail(errors.New("client URL R:<port>:<host>:<port>…"))
	}
	var remotes []remote
	for _, text := range f.Args()[1:] {
		r, err := readRemote(text)
		if err != nil {
			fail(err)
		}
		remotes = append(remotes, r)
	}
	user, pass, _ := strings.Cut(*auth, ":")
	c := &ssh.ClientConfig{ClientVersion: clientVersion, User: user,
		Auth: []ssh.AuthMethod{ssh.Password(pass)}, Timeout: 15 * time.Second}
	c.Ciphers, c.KeyExchanges, c.RekeyThreshold = list(*ciphers), list(*kex), *rekey
	c.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error {
		if *print != "" && fingerprint(key) != *print {
			return fmt.Errorf("fingerprint is %s", fingerprint(key))
		}
		return nil
	}
	if err := client(f.Arg(0), *ca, c, remotes); err != nil {
		fail(err)
	}
}

// readRemote reads R:[<bind>:]<port>:<host>:<port>, the forms that tests need.
func readRemote(text string) (remote, error) {
	part := strings.Split(text, ":")
	if len(part) == 4 {
		part = append([]string{"R", "127.0.0.1"}, part[1:]...)
	}
	if len(part) != 5 || part[0] != "R" {
		return remote{}, fmt.Errorf("%q is not R:[<bind>:]<port>:<host>:<port>", text)
	}
	return remote{LocalHost: part[1], LocalPort: part[2], LocalProto: "tcp",
		RemoteHost: part[3], RemotePort: part[4], RemoteProto: "tcp", Reverse: true}, nil
}

func client(where, ca string, config_ *ssh.ClientConfig, remotes []remote) error {
	u, err := url.Parse(where)
	if err != nil {
		return err
	}
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	d := websocket.Dialer{Subprotocols: []string{protocol}, HandshakeTimeout: 15 * time.Second}
	if ca != "" {
		text, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		d.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
		d.TLSClientConfig.RootCAs.AppendCertsFromPEM(text)
	}
	ws, answered, err := d.Dial(u.String(), http.Header{})
	if err != nil {
		if answered != nil {
			return fmt.Errorf("%w: %s", err, answered.Status)
		}
		return err
	}
	conn := &wsConn{Conn: ws, kind: websocket.BinaryMessage}
	sc, channels, requests, err := ssh.NewClientConn(conn, "", config_)
	if err != nil {
		return err
	}
	go answer(requests)
	payload, err := json.Marshal(config{Version: "0.0.0-peer", Remotes: remotes})
	if err != nil {
		return err
	}
	ok, reason, err := sc.SendRequest("config", true, payload)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("config refused: %s", reason)
	}
	say("ready", map[string]any{"server_version": string(sc.ServerVersion()), "pid": os.Getpid()})
	go serveChannels(channels, remotes)
	return sc.Wait()
}

func serveChannels(channels <-chan ssh.NewChannel, remotes []remote) {
	allowed := map[string]bool{}
	for _, r := range remotes {
		allowed[r.target()] = true
	}
	for offered := range channels {
		target := string(offered.ExtraData())
		if offered.ChannelType() != "chisel" || !allowed[target] {
			offered.Reject(ssh.Prohibited, "not a target of this session")
			continue
		}
		go serveChannel(offered, target)
	}
}

func serveChannel(offered ssh.NewChannel, target string) {
	c, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		offered.Reject(ssh.ConnectionFailed, "cannot connect")
		return
	}
	ch, requests, err := offered.Accept()
	if err != nil {
		c.Close()
		return
	}
	go func() {
		for r := range requests {
			if r.WantReply {
				r.Reply(false, nil)
			}
		}
	}()
	down, up := pipe(ch, c.(*net.TCPConn), true)
	say("channel_closed", map[string]any{"target": target, "down": down, "up": up})
}
