"""JAX functions, traced to jaxprs and read into the tensor program. Only ``live`` needs jax."""
