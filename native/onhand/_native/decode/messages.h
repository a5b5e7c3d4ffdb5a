/* Calling a method without arguments at the cost of a C call.
 *
 * A poll of Kafka is a list of objects with six methods to ask, a thousand times over. Looking the
 * methods up once per type, and calling the C function behind each, takes a third of the time that
 * attribute lookup takes. Types whose methods are of another kind are called the usual way.
 */
#ifndef ONHAND_DECODE_MESSAGES_H
#define ONHAND_DECODE_MESSAGES_H

#include <Python.h>

#include <string.h>

typedef struct {
    PyObject *name;        /* borrowed from the module */
    PyObject *descriptor;  /* owned: keeps `function` alive */
    PyCFunction function;  /* NULL: call by name */
} oh_method_t;

static inline void oh_method_clear(oh_method_t *method)
{
    Py_CLEAR(method->descriptor);
    method->function = NULL;
}

static inline int oh_method_bind(oh_method_t *method, PyTypeObject *type, PyObject *name)
{
    oh_method_clear(method);
    method->name = name;
    method->descriptor = PyObject_GetAttr((PyObject *)type, name);
    if (method->descriptor == NULL) return -1;
    if (!Py_IS_TYPE(method->descriptor, &PyMethodDescr_Type)) return 0;
    const PyMethodDef *definition = ((PyMethodDescrObject *)method->descriptor)->d_method;
    if (definition->ml_flags == METH_NOARGS) method->function = definition->ml_meth;
    return 0;
}

/* A new reference, or NULL with an exception set. `self` is of the type that was bound. */
static inline PyObject *oh_method_call(const oh_method_t *method, PyObject *self)
{
    if (method->function != NULL) return method->function(self, NULL);
    return PyObject_CallMethodNoArgs(self, method->name);
}

#endif
