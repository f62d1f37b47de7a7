// Package doctor keeps the findings: what weakens the protection right now.
package doctor
