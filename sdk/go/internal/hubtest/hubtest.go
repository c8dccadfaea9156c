// Package hubtest starts a hub, and cuts its connections, for tests.
package hubtest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// startTimeout is how long a hub may take to start, on a machine that does much else.
const startTimeout = 2 * time.Minute

// Hub is a hub in its own process.
type Hub struct {
	// Address is where it listens.
	Address string
	command *exec.Cmd
}

// root is the folder of the Go SDK.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..")
}

// Command returns the command of the bridge: TOOL_BRIDGE_COMMAND, or that of the repository's environment.
func Command() (string, error) {
	if command := os.Getenv("TOOL_BRIDGE_COMMAND"); command != "" {
		return command, nil
	}
	command, err := filepath.Abs(filepath.Join(root(), "..", "..", ".venv", "bin", "grpc-tool-bridge"))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(command); err != nil {
		return "", fmt.Errorf("the tests need a hub: run 'make install' in the repository, or set TOOL_BRIDGE_COMMAND: %w", err)
	}
	return command, nil
}

// Start starts a hub with the tools of testdata/tools.py at an address; "127.0.0.1:0" is any free port.
func Start(address string, arguments ...string) (*Hub, error) {
	command, err := Command()
	if err != nil {
		return nil, err
	}
	tools := filepath.Join(root(), "testdata", "tools.py")
	arguments = append([]string{"serve", "--json", "--log-level", "error", "--address", address, "--tools", tools}, arguments...)
	h := &Hub{command: exec.Command(command, arguments...)}
	h.command.Stderr = os.Stderr
	out, err := h.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := h.command.Start(); err != nil {
		return nil, err
	}
	hung := time.AfterFunc(startTimeout, func() { _ = h.command.Process.Kill() })
	defer hung.Stop()
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var ready struct{ Address string }
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	if err == nil && ready.Address == "" {
		err = fmt.Errorf("the hub printed %q", line)
	}
	if err != nil {
		h.Stop()
		return nil, fmt.Errorf("the hub did not start: %w", err)
	}
	h.Address = ready.Address
	return h, nil
}

// Stop ends the hub; calls in flight are cut off.
func (h *Hub) Stop() {
	_ = h.command.Process.Signal(syscall.SIGTERM)
	hung := time.AfterFunc(startTimeout, func() { _ = h.command.Process.Kill() })
	defer hung.Stop()
	_ = h.command.Wait()
}

// Kill ends the hub at once.
func (h *Hub) Kill() {
	_ = h.command.Process.Kill()
	_ = h.command.Wait()
}

// Proxy passes connections on to a hub, and can cut them.
type Proxy struct {
	// Address is where it listens.
	Address  string
	listener net.Listener
	target   string

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// NewProxy starts a proxy to a hub.
func NewProxy(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{Address: listener.Addr().String(), listener: listener, target: target, conns: map[net.Conn]struct{}{}}
	go p.run()
	return p, nil
}

func (p *Proxy) run() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		hub, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = conn.Close()
			continue
		}
		p.mu.Lock()
		p.conns[conn], p.conns[hub] = struct{}{}, struct{}{}
		p.mu.Unlock()
		go p.pass(conn, hub)
		go p.pass(hub, conn)
	}
}

func (p *Proxy) pass(from, to net.Conn) {
	_, _ = io.Copy(to, from)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, from)
	_ = from.Close()
	_ = to.Close()
}

// Cut ends all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
}

// Close ends the proxy.
func (p *Proxy) Close() {
	_ = p.listener.Close()
	p.Cut()
}
