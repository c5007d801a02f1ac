// Reads ModelReleases as the tools of GitOps do, by their own libraries: kstatus (Helm 4, Flux), Flux's health
// check expressions, and a health script of Argo CD in the Lua that Argo CD runs.
//
// Standard input: {"lua": SCRIPT, "flux": {"current": CEL, …}, "objects": [OBJECT, …]}; standard output: a list of
// {"kstatus": …, "flux": …, "argo": …}, one for each object.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

type question struct {
	Lua     string                           `json:"lua"`
	Flux    kustomize.HealthCheckExpressions `json:"flux"`
	Objects []json.RawMessage                `json:"objects"`
}

type answer struct {
	Kstatus string `json:"kstatus"`
	Flux    string `json:"flux"`
	Argo    string `json:"argo"`
}

func main() {
	answers, err := answered(os.Stdin)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(answers)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func answered(input io.Reader) ([]answer, error) {
	var asked question
	if err := json.NewDecoder(input).Decode(&asked); err != nil {
		return nil, err
	}
	flux, err := cel.NewStatusEvaluator(&asked.Flux)
	if err != nil {
		return nil, fmt.Errorf("Flux's expressions: %w", err)
	}
	answers := []answer{}
	for _, raw := range asked.Objects {
		var object unstructured.Unstructured
		if err := object.UnmarshalJSON(raw); err != nil {
			return nil, err
		}
		byKstatus, err := status.Compute(&object)
		if err != nil {
			return nil, err
		}
		byFlux, err := flux.Evaluate(context.Background(), &object)
		if err != nil {
			return nil, fmt.Errorf("Flux's expressions: %w", err)
		}
		byArgo, err := health(asked.Lua, object.Object)
		if err != nil {
			return nil, fmt.Errorf("Argo CD's script: %w", err)
		}
		answers = append(answers, answer{string(byKstatus.Status), string(byFlux.Status), byArgo})
	}
	return answers, nil
}

// health runs a script as Argo CD does: with the object as the global obj, and few libraries.
func health(script string, object map[string]any) (string, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable, lua.StringLibName: lua.OpenString,
	} {
		state.Push(state.NewFunction(open))
		state.Push(lua.LString(name))
		state.Call(1, 0)
	}
	state.SetGlobal("obj", value(state, object))
	if err := state.DoString(script); err != nil {
		return "", err
	}
	result, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return "", fmt.Errorf("it gave %s instead of a table", state.Get(-1).Type())
	}
	if _, told := result.RawGetString("message").(lua.LString); !told {
		return "", fmt.Errorf("it gave no message")
	}
	return result.RawGetString("status").String(), nil
}

func value(state *lua.LState, of any) lua.LValue {
	switch of := of.(type) {
	case map[string]any:
		table := state.NewTable()
		for name, each := range of {
			table.RawSetString(name, value(state, each))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, each := range of {
			table.Append(value(state, each))
		}
		return table
	case string:
		return lua.LString(of)
	case bool:
		return lua.LBool(of)
	case int64:
		return lua.LNumber(of)
	case float64:
		return lua.LNumber(of)
	default:
		return lua.LNil
	}
}
