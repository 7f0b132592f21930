// The oracle: renders template snippets with Go's text/template, sprig and yaml.v2, as werf does.
//
// Reads JSON lines {"template", "data", "files", "templates", "env"} and writes one JSON line each: {"output"} or {"error"}.
// With the argument "functions" it writes the names of sprig's functions, one a line.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/adler32"
	"os"
	"path"
	"sort"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	yaml "gopkg.in/yaml.v2"
)

type snippet struct {
	Template  string                 `json:"template"`
	Data      map[string]interface{} `json:"data"`
	Files     map[string]string      `json:"files"`
	Templates map[string]string      `json:"templates"`
	Env       map[string]string      `json:"env"`
}

type answer struct {
	Output *string `json:"output,omitempty"`
	Error  *string `json:"error,omitempty"`
}

type files struct{ contents map[string]string }

func (f files) Get(name string) (string, error) {
	text, found := f.contents[path.Clean(name)]
	if !found {
		return "", fmt.Errorf("no file %q", name)
	}
	return text, nil
}

func (f files) Exists(name string) bool {
	_, found := f.contents[path.Clean(name)]
	return found || f.IsDir(name)
}

func (f files) IsDir(name string) bool {
	for known := range f.contents {
		if strings.HasPrefix(known, path.Clean(name)+"/") {
			return true
		}
	}
	return false
}

func (f files) Glob(pattern string) map[string]interface{} {
	found := map[string]interface{}{}
	for name, text := range f.contents {
		if matched, _ := path.Match(pattern, name); matched {
			found[name] = text
		}
	}
	return found
}

func execute(root *template.Template, name string, data interface{}) (string, error) {
	var out bytes.Buffer
	err := root.ExecuteTemplate(&out, name, data)
	return out.String(), err
}

func functions(root *template.Template, env map[string]string) template.FuncMap {
	known := sprig.TxtFuncMap()
	delete(known, "expandenv")
	known["env"] = func(name string, fallback ...string) (string, error) {
		value, found := env[name]
		if value == "" && len(fallback) == 1 {
			return fallback[0], nil
		}
		if !found || len(fallback) > 1 {
			return "", fmt.Errorf("the variable %q is not set", name)
		}
		return value, nil
	}
	known["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return value, errors.New(message)
		}
		return value, nil
	}
	known["include"] = func(name string, data interface{}) (string, error) { return execute(root, name, data) }
	known["tpl"] = func(text string, data interface{}) (string, error) {
		name := fmt.Sprintf("tpl-%d", adler32.Checksum([]byte(text)))
		if _, err := root.New(name).Parse(text); err != nil {
			return "", err
		}
		return execute(root, name, data)
	}
	known["fromYaml"] = func(text string) (map[string]interface{}, error) {
		value := map[string]interface{}{}
		err := yaml.Unmarshal([]byte(text), &value)
		return value, err
	}
	known["toYaml"] = func(value interface{}) (string, error) {
		text, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(text), "\n"), err
	}
	return known
}

// whole turns numbers without a fraction into int: JSON has one kind of number, a configuration has two.
func whole(value interface{}) interface{} {
	switch typed := value.(type) {
	case json.Number:
		if number, err := typed.Int64(); err == nil {
			return int(number)
		}
		number, _ := typed.Float64()
		return number
	case map[string]interface{}:
		for key, item := range typed {
			typed[key] = whole(item)
		}
	case []interface{}:
		for index, item := range typed {
			typed[index] = whole(item)
		}
	}
	return value
}

func render(given snippet) (text string, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("panic: %v", problem)
		}
	}()
	root := template.New("werfConfig")
	root.Funcs(functions(root, given.Env))
	names := []string{}
	for name := range given.Templates {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		if _, err := root.New(name).Parse(given.Templates[name]); err != nil {
			return "", err
		}
	}
	if _, err := root.Parse(given.Template); err != nil {
		return "", err
	}
	data, _ := whole(given.Data).(map[string]interface{})
	if data == nil {
		data = map[string]interface{}{}
	}
	data["Files"] = files{given.Files}
	data["Env"] = "production"
	data["Commit"] = map[string]interface{}{
		"Hash": strings.Repeat("c", 40),
		"Date": map[string]string{"Human": "2026-01-02 03:04:05 +0000 UTC", "Unix": "1767323045"},
	}
	return execute(root, "werfConfig", data)
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	if len(os.Args) > 1 && os.Args[1] == "functions" {
		for name := range sprig.TxtFuncMap() {
			fmt.Fprintln(out, name)
		}
		return
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for lines.Scan() {
		var given snippet
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.UseNumber()
		if err := decoder.Decode(&given); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		text, err := render(given)
		if err != nil {
			message := err.Error()
			encoder.Encode(answer{Error: &message})
			continue
		}
		encoder.Encode(answer{Output: &text})
	}
}
