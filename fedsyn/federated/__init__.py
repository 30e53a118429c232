"""The federated round, as the paper writes it: clients update, the server averages."""
