package toolbridge_test

import (
	"bufio"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// build returns the program of an example.
func build(t *testing.T, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	command := exec.Command("go", "build", "-o", program, "./"+name)
	command.Dir = filepath.Join("..", "..", "examples", "go")
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s cannot be built: %v\n%s", name, err, out)
	}
	return program
}

func TestTheExamplesDoWhatTheySay(t *testing.T) {
	worker := exec.Command(build(t, "worker"), "-address", hub.Address)
	out, err := worker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	hung := time.AfterFunc(patience, func() { _ = worker.Process.Kill() })
	defer hung.Stop()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the worker printed %q, %v", line, err)
	}
	printed, err := exec.CommandContext(testContext(t), build(t, "client"), "-address", hub.Address).CombinedOutput()
	if want := "HELLO\none\ntwo\nEmptyText from tool\n"; err != nil || string(printed) != want {
		t.Errorf("the client printed %q, %v", printed, err)
	}
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := worker.Wait(); err != nil {
		t.Errorf("the worker ended with %v", err)
	}
}
