-- Sums of a day: days since the Unix epoch, the name of an account, an amount in the account's unit.
CREATE TABLE books (
    day BIGINT NOT NULL,
    account TEXT NOT NULL,
    amount BIGINT NOT NULL,
    PRIMARY KEY (day, account)
);
