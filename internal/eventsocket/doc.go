// Package eventsocket reads the events of FreeSWITCH's event socket, within bounds whatever it is sent, and changes nothing there.
package eventsocket
