// Package banner makes the kernel drop what comes from banned units: it holds
// the desired bans and keeps the nftables table "inet band" equal to them.
package banner
