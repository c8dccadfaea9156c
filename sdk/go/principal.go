package toolbridge

import (
	"encoding/json"

	"github.com/grpc-tool-bridge/grpc-tool-bridge/sdk/go/internal/link"
)

// Principal is on whose behalf a tool is called: who has made the outermost call, as the hub has authenticated it.
type Principal struct {
	// Name is for logs and rules.
	Name string `json:"name"`
	// Groups are those that it belongs to.
	Groups []string `json:"groups"`
	// Claims is what else its proof says of it, of what the hub's setting forwarded_claims names.
	Claims map[string]any `json:"claims"`
	// Method is how it has proved who it is: "token", "jwt", "certificate" or "user".
	Method string `json:"method"`
}

// callerOf reads who has made a call, and how it came; nil if the hub says nothing of it.
func callerOf(metadata map[string]string) (*Principal, []string, error) {
	text, ok := metadata[link.PrincipalKey]
	if !ok {
		return nil, nil, nil
	}
	var found struct {
		*Principal
		Name *string  `json:"name"`
		Via  []string `json:"via"`
	}
	found.Principal = new(Principal)
	if err := json.Unmarshal([]byte(text), &found); err != nil || found.Name == nil {
		return nil, nil, protocolError("the metadata %s of a call is not a JSON object with the name of its caller", link.PrincipalKey)
	}
	found.Principal.Name = *found.Name
	return found.Principal, found.Via, nil
}
