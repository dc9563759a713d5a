//! One file per promise.

mod account;
mod account_attacks;
mod attach;
mod blob;
mod close_key;
mod commit;
mod crash;
mod decoy_account;
mod delivery;
mod flood;
mod frames;
mod keys;
mod operator;
mod operator_log;
mod rendezvous;
mod retention;
mod terms;
mod thief;
mod ticket;
mod tripwire;
