// Package freeswitch reads the configuration of FreeSWITCH, to tell what it
// would hide from band and which peers belong to it.
package freeswitch
