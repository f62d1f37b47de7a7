// Package services tells on which ports the processes of this machine listen,
// and which other programs ban beside us.
package services
