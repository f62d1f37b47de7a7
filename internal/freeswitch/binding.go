package freeswitch

import "strings"

// A Binding is a module that FreeSWITCH asks for a part of its configuration
// before it looks into the files, such as the scripts of FusionPBX. What it
// answers is not known.
type Binding struct {
	Module        string // mod_lua or mod_xml_curl
	Configuration bool   // it is asked for profiles, log files and the event socket
	Directory     bool   // it is asked for users
	At            Place
}

func (c *Config) takeBindings(configuration *node) {
	script := false
	for _, param := range configuration.named("configuration", "lua.conf").child("settings").all("param") {
		switch param.attr("name") {
		case "xml-handler-script":
			script = param.attr("value") != ""
		case "xml-handler-bindings":
			if script {
				c.bind("mod_lua", param.attr("value"), param.at)
			}
		}
	}
	for _, binding := range configuration.named("configuration", "xml_curl.conf").child("bindings").all("binding") {
		for _, param := range binding.all("param") {
			if strings.EqualFold(param.attr("name"), "gateway-url") && param.attr("value") != "" {
				c.bind("mod_xml_curl", param.attr("bindings"), param.at)
			}
		}
	}
}

// bind takes the binding of a module to sections, which are all where none is
// named (switch_xml_parse_section_string).
func (c *Config) bind(module, sections string, at Place) {
	sections = strings.ToLower(sections)
	all := true
	for _, section := range []string{"config", "directory", "dialplan", "languages", "chatplan", "channels"} {
		all = all && !strings.Contains(sections, section)
	}
	c.Bindings = append(c.Bindings, Binding{
		Module:        module,
		Configuration: all || strings.Contains(sections, "config"),
		Directory:     all || strings.Contains(sections, "directory"),
		At:            at,
	})
}
