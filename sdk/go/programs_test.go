package toolbridge_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// build returns the program of a folder of a module.
func build(t *testing.T, module, folder string, flags ...string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), folder)
	command := exec.Command("go", append(append([]string{"build", "-o", program}, flags...), "./"+folder)...)
	command.Dir = module
	if out, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%s cannot be built: %v\n%s", folder, err, out)
	}
	return program
}

// start runs a program until the test ends it, at the latest when its patience does.
func start(t *testing.T, program string, arguments ...string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	command := exec.Command(program, arguments...)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	hung := time.AfterFunc(patience, func() { _ = command.Process.Kill() })
	t.Cleanup(func() {
		hung.Stop()
		_ = command.Process.Kill()
	})
	return command, bufio.NewReader(out)
}

func output(t *testing.T, program string, arguments ...string) string {
	t.Helper()
	printed, err := exec.CommandContext(testContext(t), program, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s ended with %v\n%s", program, err, printed)
	}
	return string(printed)
}

func TestTheExamplesDoWhatTheySay(t *testing.T) {
	module := filepath.Join("..", "..", "examples", "go")
	worker, out := start(t, build(t, module, "worker"), "-address", hub.Address)
	if line, err := out.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the worker printed %q, %v", line, err)
	}
	printed := output(t, build(t, module, "client"), "-address", hub.Address)
	if want := "HELLO\none\ntwo\nEmptyText from tool\n"; printed != want {
		t.Errorf("the client printed %q", printed)
	}
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out)
	if err := worker.Wait(); err != nil {
		t.Errorf("the worker ended with %v", err)
	}
}

var program = regexp.MustCompile("(?s)```go\n(package main\n.*?)```")

// buildReadme returns a program of the README, for the hub of the tests: it is built as if it were in this module.
func buildReadme(t *testing.T, name, source string) string {
	t.Helper()
	folder := t.TempDir()
	file := filepath.Join(folder, "main.go")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(source, "127.0.0.1:50051", hub.Address)), 0o600); err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(here, name, "main.go"): file}})
	if err != nil {
		t.Fatal(err)
	}
	replaced := filepath.Join(folder, "overlay.json")
	if err := os.WriteFile(replaced, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	return build(t, ".", name, "-overlay", replaced)
}

func TestTheProgramsOfTheReadmeRun(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	programs := program.FindAllStringSubmatch(string(readme), -1)
	if len(programs) != 2 {
		t.Fatalf("the README has %d programs", len(programs))
	}
	worker, _ := start(t, buildReadme(t, "readme_worker", programs[0][1]))
	// It does not say when it is ready: a client that is first gets an error, and tries again.
	client := buildReadme(t, "readme_client", programs[1][1])
	deadline := time.Now().Add(patience)
	printed := output(t, client)
	for strings.Contains(printed, "ToolNotFound") && time.Now().Before(deadline) {
		printed = output(t, client)
	}
	if printed != "HELLO <nil>\n" {
		t.Errorf("the client printed %q", printed)
	}
	_ = worker.Process.Signal(os.Interrupt)
	_ = worker.Wait()
}
