//! Accounts, certificates, escrow, vouchers and the witness set.
