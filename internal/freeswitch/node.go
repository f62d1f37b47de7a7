package freeswitch

import (
	"slices"
	"strings"
)

// A node is an element that matters to us. A nil node is one that is not there.
type node struct {
	tag      string
	attrs    []attr
	children []*node
	at       Place
	broken   bool // it is not closed
}

// attr returns the value of an attribute, "" where it is missing.
func (n *node) attr(name string) string {
	if n != nil {
		for _, a := range n.attrs {
			if a.name == name {
				return a.value
			}
		}
	}
	return ""
}

// all returns the children with that tag.
func (n *node) all(tag string) []*node {
	if n == nil {
		return nil
	}
	var all []*node
	for _, child := range n.children {
		if child.tag == tag {
			all = append(all, child)
		}
	}
	return all
}

// child returns the first child with that tag, the only one that FreeSWITCH
// looks at (switch_xml_child).
func (n *node) child(tag string) *node {
	if n != nil {
		for _, child := range n.children {
			if child.tag == tag {
				return child
			}
		}
	}
	return nil
}

// named returns the first child with that tag and name (switch_xml_find_child).
func (n *node) named(tag, name string) *node {
	for _, child := range n.all(tag) {
		if strings.EqualFold(child.attr("name"), name) {
			return child
		}
	}
	return nil
}

// wanted are the configurations that we read.
var wanted = []string{"sofia.conf", "logfile.conf", "event_socket.conf", "lua.conf", "xml_curl.conf"}

// matters reports whether n, which stands in the last of open, is to be kept.
func matters(open []element, n *node) bool {
	parent, name := open[len(open)-1].node, strings.ToLower(n.attr("name"))
	if parent == nil {
		return false
	}
	switch depth := len(open); depth {
	case 1:
		return true // the root, whatever its name
	case 2:
		return n.tag == "section" && (name == "configuration" || name == "directory")
	case 3:
		return n.tag == "configuration" && slices.Contains(wanted, name) || n.tag == "domain"
	}
	if open[3].node.tag == "configuration" {
		return true
	}
	return slices.ContainsFunc(open[4:], func(e element) bool { return e.node.tag == "gateways" }) ||
		slices.Contains(ofUsers, n.tag) || n.tag == "gateways"
}

// ofUsers are the elements of a domain that lead to users.
var ofUsers = []string{"groups", "group", "users", "user"}
