package toolbridge_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	toolbridge "github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go"
	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/hubtest"
)

// startAgents runs a runtime of agents at the hub.
func startAgents(t *testing.T) {
	t.Helper()
	command, err := hubtest.Command()
	if err != nil {
		t.Fatal(err)
	}
	_, out := start(t, filepath.Join(filepath.Dir(command), "python"), filepath.Join("testdata", "agents.py"), hub.Address)
	if line, err := out.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the runtime of agents printed %q, %v", line, err)
	}
}

// describe returns a step as a text.
func describe(step toolbridge.Step) string {
	switch step := step.(type) {
	case *toolbridge.Thought:
		return "thought " + step.Text
	case *toolbridge.Answer:
		return fmt.Sprint("answer ", step.Outputs["answer"], " ", step.StopReason)
	}
	return fmt.Sprintf("%T", step)
}

func TestAgents(t *testing.T) {
	startAgents(t)
	session, ctx := newSession(t, hub.Address), testContext(t)
	agent, err := session.CreateAgent(ctx, "question -> answer", toolbridge.MaxIterations(3), toolbridge.AgentTools("add"))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(t *testing.T, question string) *toolbridge.Run {
		t.Helper()
		run, err := agent.Run(map[string]any{"question": question})
		if err != nil {
			t.Fatal(err)
		}
		return run
	}
	t.Run("a run yields its steps, and so does one that attaches to it", func(t *testing.T) {
		run := ask(t, "why?")
		other, err := newClient(t, hub.Address).Session(ctx, session.ID())
		if err != nil {
			t.Fatal(err)
		}
		for i, read := range []*toolbridge.Run{run, other.AttachRun(run.ID, 0), other.AttachRun(run.ID, 1)} {
			var steps []string
			for step, err := range read.Steps(ctx) {
				if err != nil {
					t.Fatal(err)
				}
				steps = append(steps, describe(step))
			}
			if want := []string{"thought Hm., answer why? finished", "thought Hm., answer why? finished", "answer why? finished"}[i]; strings.Join(steps, ", ") != want {
				t.Errorf("the steps are %q", steps)
			}
		}
	})
	t.Run("a run that is cancelled ends with that error", func(t *testing.T) {
		run := ask(t, "wait")
		var last error
		for step, err := range run.Steps(ctx) {
			last = err
			if err == nil && describe(step) == "thought Hm." {
				if err := run.Cancel(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !errors.Is(last, toolbridge.ErrCancelled) {
			t.Errorf("it ended with %v", last)
		}
	})
	t.Run("an agent that there is not is an error", func(t *testing.T) {
		run, err := session.Agent("no such agent").Run(map[string]any{"question": "why?"})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range run.Steps(ctx) {
			if !errors.Is(err, toolbridge.ErrAgentNotFound) {
				t.Errorf("it gave %v", err)
			}
		}
	})
	t.Run("inputs must be JSON values", func(t *testing.T) {
		if _, err := agent.Run(map[string]any{"question": func() {}}); !errors.Is(err, toolbridge.ErrValidation) {
			t.Errorf("it gave %v", err)
		}
	})
}
